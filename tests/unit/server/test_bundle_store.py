from __future__ import annotations

import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sample_bundle import write

from viridian_model.errors import BundleError, DigestMismatch
from viridian_server import registry
from viridian_server.failure import EXIT_CODES, LoadFailure, write_termination_log
from viridian_server.revision import Revision
from viridian_server.store import BundleStore


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "source", write(tmp_path / "source")


def visible(store: BundleStore) -> list[str]:
    return [path.name for path in store.root.iterdir() if not path.name.startswith(".")]


def test_pods_that_fetch_at_the_same_time_leave_one_entry(tmp_path: Path, source: tuple[Path, str]) -> None:
    directory, digest = source
    store = BundleStore(tmp_path / "store")
    together = threading.Barrier(6)

    def download(into: Path) -> None:
        for path in directory.iterdir():
            shutil.copy(path, into)
            assert store.read(digest) is None or together.broken
        together.wait(30)

    with ThreadPoolExecutor(6) as pool:
        bundles = list(pool.map(lambda _: store.add(digest, download), range(6)))
    assert {bundle.directory for bundle in bundles} == {store.path(digest)}
    assert os.listdir(store.root) == [digest.removeprefix("sha256:")]
    assert bundles[0].load_model().embedding_tables()["user"].rows == 8


def test_a_wrong_download_never_gets_the_name(tmp_path: Path, source: tuple[Path, str]) -> None:
    directory, _ = source
    store, wanted = BundleStore(tmp_path / "store"), "sha256:" + "1" * 64
    with pytest.raises(DigestMismatch):
        store.add(wanted, lambda into: shutil.copytree(directory, into, dirs_exist_ok=True))
    assert list(store.root.iterdir()) == []


def test_a_corrupt_entry_is_moved_aside_and_a_good_one_is_not(tmp_path: Path, source: tuple[Path, str]) -> None:
    directory, digest = source
    store = BundleStore(tmp_path / "store")
    shutil.copytree(directory, store.path(digest))
    store.quarantine(digest)  # somebody else repaired it since we looked
    assert store.read(digest) is not None
    for _ in range(2):
        shutil.copytree(directory, store.path(digest), dirs_exist_ok=True)
        os.truncate(store.path(digest) / "weights.safetensors", 10)
        with pytest.raises(BundleError, match=r"weights\.safetensors"):
            store.read(digest)
        store.quarantine(digest)
        assert store.read(digest) is None
        store.quarantine(digest)  # another pod did
    assert visible(store) == []


def test_what_killed_pods_left_is_removed_after_a_day(tmp_path: Path, source: tuple[Path, str]) -> None:
    directory, digest = source
    store = BundleStore(tmp_path / "store")
    for name, age in (("old", 90_000), ("young", 60)):
        path = store.root / f".{name}.partial"
        path.mkdir(parents=True)
        os.utime(path, (time.time() - age,) * 2)
    store.add(digest, lambda into: shutil.copytree(directory, into, dirs_exist_ok=True))
    assert sorted(os.listdir(store.root)) == [".young.partial", digest.removeprefix("sha256:")]


def test_an_unreachable_registry_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outcomes = [LoadFailure("RegistryUnreachable", "down"), LoadFailure("RegistryUnreachable", "down"), None]
    monkeypatch.setattr(registry, "_attempt", lambda *_: outcomes.pop(0))
    monkeypatch.setattr(registry, "_FIRST_PAUSE", 0.001)
    revision = Revision("ctr", "3", "sha256:" + "0" * 64, None, None)
    registry.download(revision, tmp_path, time.monotonic() + 60, threading.Event())
    assert outcomes == []
    outcomes = [LoadFailure("VersionMissing", "gone"), None]
    with pytest.raises(LoadFailure, match="gone"):
        registry.download(revision, tmp_path, time.monotonic() + 60, threading.Event())


@pytest.mark.parametrize("message", ["x" * 9000, "é" * 3000, "short"])
def test_last_words_fit_into_the_termination_log(tmp_path: Path, message: str) -> None:
    write_termination_log(tmp_path / "log", LoadFailure("BadBundle", message))
    text = (tmp_path / "log").read_bytes()
    assert len(text) <= 4096
    assert json.loads(text)["error"]["reason"] in EXIT_CODES
