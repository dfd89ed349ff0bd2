"""What is made in the cache is made once, however many commands want it."""

from pathlib import Path
from threading import Thread

from viridian_local.scratch import only_maker, scratch


def test_other_makers_wait(tmp_path: Path) -> None:
    target, found = tmp_path / "cache" / "made", list[bool]()

    def other() -> None:
        with only_maker(target, "it"):
            found.append(target.exists())

    with only_maker(target, "it"):
        waiting = Thread(target=other)
        waiting.start()
        waiting.join(0.3)
        assert not found
        target.mkdir()
    waiting.join(30)
    assert found == [True]


def test_what_a_killed_command_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".half-made-4194305-abc").mkdir()  # above the greatest number of a process
    with scratch(tmp_path) as folder:
        assert [each for each in tmp_path.iterdir() if each.is_dir()] == [folder]
    assert not folder.exists()
