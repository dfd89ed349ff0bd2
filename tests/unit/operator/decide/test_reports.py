"""The link from a verdict to the page that explains it."""

from __future__ import annotations

from typing import Any

import pytest
from simulation import World

from viridian_operator.api.spec import Registry
from viridian_operator.decide.reports import report_of

TOLD = {"experimentID": "7", "path": "gate/report.html"}
PAGE = "#/experiments/7/runs/e1/artifacts/gate/report.html"


@pytest.mark.parametrize(
    ("registry", "address"),
    [
        ({"trackingURI": "http://mlflow:5000"}, f"http://mlflow:5000/{PAGE}"),
        ({"trackingURI": "https://mlflow.example.com/base/"}, f"https://mlflow.example.com/base/{PAGE}"),
        ({"trackingURI": "http://[::1]:5000"}, f"http://[::1]:5000/{PAGE}"),
        (
            {"trackingURI": "http://mlflow:5000", "externalURL": "https://models.example.com"},
            f"https://models.example.com/{PAGE}",
        ),
        ({"trackingURI": "http://user:secret@mlflow:5000?token=secret#secret"}, f"http://mlflow:5000/{PAGE}"),
        ({"trackingURI": "http://a@b:secret@mlflow:5000"}, f"http://mlflow:5000/{PAGE}"),
        ({"trackingURI": "http://user:12/secret@mlflow:5000"}, "runs:/e1/gate/report.html"),
    ],
)
def test_the_page_is_one_of_mlflow_and_holds_no_credentials(registry: dict[str, Any], address: str) -> None:
    assert report_of({"runID": "e1", "report": TOLD}, Registry.model_validate(registry)) == address


@pytest.mark.parametrize(
    ("result", "address"),
    [
        ({"runID": "e1", "report": {"path": "a page.html"}}, "runs:/e1/a%20page.html"),
        (
            {"runID": "e1", "report": {"experimentID": "7/../8", "path": "a?b"}},
            "http://m/#/experiments/7%2F..%2F8/runs/e1/artifacts/a%3Fb",
        ),
        ({"runID": "e1"}, ""),
        ({"report": TOLD}, ""),
        ({"runID": "e1", "report": "report.html"}, ""),
        ({"runID": "e1", "report": {"experimentID": "7"}}, ""),
    ],
)
def test_other_images_may_tell_less(result: dict[str, Any], address: str) -> None:
    assert report_of(result, Registry.model_validate({"trackingURI": "http://m"})) == address


@pytest.mark.parametrize("verdict", ["Pass", "Reject", "Inconclusive"])
def test_status_history_and_event_lead_to_the_report(verdict: str) -> None:
    world = World(verdicts={"1": verdict})
    world.run(lambda w: bool(w.status.history))
    assert world.status.update and world.status.update.evaluation
    report = world.status.update.evaluation.report
    assert report == "http://mlflow:5000/#/experiments/7/runs/e1/artifacts/gate/report.html"
    assert world.status.history[-1].report == report
    assert [note for note in world.notes if report in note.message]
