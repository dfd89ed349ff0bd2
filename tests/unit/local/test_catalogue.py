"""The key of an image changes with all that goes into it, and with nothing else."""

from pathlib import Path

import pytest

from viridian_local import catalogue
from viridian_local.catalogue import ALL, Image


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "part/code").mkdir(parents=True)
    (tmp_path / "part/Containerfile").write_text("FROM scratch\n")
    (tmp_path / "part/code/a.py").write_text("a = 1\n")
    (tmp_path / "other.py").write_text("")
    monkeypatch.setattr(catalogue, "CHECKOUT", tmp_path)
    return tmp_path


IMAGE = Image("part", "part/Containerfile", files=("part/code",))


def test_the_key_follows_code_and_containerfile(checkout: Path) -> None:
    keys = [IMAGE.key()]
    (checkout / "part/code/a.py").write_text("a = 2\n")
    keys.append(IMAGE.key())
    (checkout / "part/code/a.py").rename(checkout / "part/code/b.py")
    keys.append(IMAGE.key())
    (checkout / "part/Containerfile").write_text("FROM scratch\nUSER 1\n")
    keys.append(IMAGE.key())
    assert len(set(keys)) == 4


def test_the_key_ignores_caches_and_other_files(checkout: Path) -> None:
    before = IMAGE.key()
    (checkout / "part/code/__pycache__").mkdir()
    (checkout / "part/code/__pycache__/a.cpython-313.pyc").write_bytes(b"x")
    (checkout / "other.py").write_text("changed")
    assert IMAGE.key() == before


def test_a_context_holds_what_the_key_covers_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    context = tmp_path / "context"
    context.mkdir()
    image = Image("part", "part/Containerfile", files=("part/code",), root="part", programs={"tool": lambda: program})
    image.fill(context)
    assert {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()} == {
        "Containerfile",
        "code/a.py",
        "tool",
    }


def test_every_image_of_the_project_has_its_files() -> None:
    for image in ALL.values():
        assert (catalogue.CHECKOUT / image.containerfile).is_file(), image.name
        assert all((catalogue.CHECKOUT / name).exists() for name in image.files), image.name


def test_the_operator_image_has_no_training_code() -> None:
    assert not [path for path in ALL["operator"].sources() if path.startswith(("model/", "trainer/", "server/"))]
    lock = (catalogue.CHECKOUT / "requirements/operator.txt").read_text()
    assert not [line for line in lock.splitlines() if line.startswith(("torch", "mlflow"))]
