"""The end of a pod in which several processes trained: the end that explains the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from viridian_trainer.environment import read_train
from viridian_trainer.errors import BadData, BadUsage, PeerLost, Stopped, TaskError
from viridian_trainer.gang import launch
from viridian_trainer.gang.layout import Layout, layout
from viridian_trainer.gang.reports import End, cause, leave, reports, silent
from viridian_trainer.result import failure

DONE = End(0, {"task": "Train", "version": "4"})
OTHER = End(0, {"task": "Train", "rank": 1})


def failed(error: BaseException) -> End:
    words, code = failure("Train", error)
    return End(code, words)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([DONE, OTHER], DONE),
        ([failed(PeerLost("gone")), failed(BadData("no label"))], failed(BadData("no label"))),
        ([failed(PeerLost("gone")), failed(KeyError("x"))], failed(KeyError("x"))),
        ([failed(PeerLost("gone")), silent("Train", 1, -9)], silent("Train", 1, -9)),
        ([failed(Stopped("told to")), silent("Train", 1, -9)], silent("Train", 1, -9)),
        ([failed(PeerLost("gone")), failed(Stopped("told to"))], failed(Stopped("told to"))),
        ([DONE, failed(PeerLost("gone"))], failed(PeerLost("gone"))),
        ([failed(KeyError("x")), failed(BadData("no label"))], failed(BadData("no label"))),
    ],
)
def test_the_cause_is_the_end_of_the_pod(ends: list[End], expected: End) -> None:
    assert cause(ends) == expected


def test_a_process_without_last_words_ends_as_a_container_would() -> None:
    assert (silent("Train", 0, -9).code, silent("Train", 0, -15).code, silent("Train", 0, -6).code) == (137, 143, 134)
    assert (silent("Train", 0, 3).code, silent("Train", 0, 3).reason) == (3, "Crashed")


def test_reports_are_read_back_in_the_order_of_processes(tmp_path: Path) -> None:
    for local_rank in (10, 9):
        leave(tmp_path, local_rank, End(local_rank, {"task": "Train"}))
    assert reports(tmp_path) == {9: End(9, {"task": "Train"}), 10: End(10, {"task": "Train"})}
    assert list(reports(tmp_path)) == [9, 10]


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, False),
        ({"PET_NNODES": "1", "PET_NPROC_PER_NODE": "1"}, False),
        ({"PET_NNODES": "2"}, True),
        ({"PET_NPROC_PER_NODE": "2"}, True),
        ({"PET_NNODES": "2", "RANK": "0"}, False),
        ({"PET_NNODES": "2", "VIRIDIAN_TASK": "Evaluate"}, False),
        ({"PET_NNODES": "2:4"}, False),
    ],
)
def test_processes_are_started_where_several_are_to_train(env: dict[str, str], wanted: bool) -> None:
    assert launch.is_wanted({"VIRIDIAN_TASK": "Train", **env}) is wanted


def test_a_layout_is_a_number_of_pods_and_processes() -> None:
    assert layout({"PET_NNODES": "3", "PET_NPROC_PER_NODE": ""}) == Layout(3, 1)
    assert layout({"PET_NNODES": "3", "PET_NPROC_PER_NODE": "2"}).ranks == 6
    for text in ("2:4", "gpu", "0", "-1"):
        with pytest.raises(BadUsage, match="PET_NNODES"):
            layout({"PET_NNODES": text})


def test_a_lone_process_does_not_train_in_the_place_of_several() -> None:
    with pytest.raises(TaskError, match="viridian-trainer run"):
        read_train({"VIRIDIAN_TRAINING": "{}", "PET_NNODES": "2"})
