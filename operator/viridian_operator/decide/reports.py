"""Where people read the report of a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from viridian_operator.api.spec import Registry
from viridian_operator.api.status import Evaluation


def report_of(result: Mapping[str, Any], registry: Registry) -> str:
    """Address of the report that an evaluation names; "" if it names none.

    A page of MLflow, which shows a run in its experiment; without the experiment, the address that MLflow's clients
    download the artifact from. Of the registry's address only host and path are taken, and nothing that may be a
    password.
    """
    told, run = result.get("report"), result.get("runID")
    if not isinstance(told, Mapping) or not run or not told.get("path"):
        return ""
    path, run = quote(str(told["path"])), quote(str(run), safe="")
    base = _bare(registry.external_url or registry.tracking_uri)
    if not told.get("experimentID") or "@" in base:  # what a password with a slash leaves behind
        return f"runs:/{run}/{path}"
    experiment = quote(str(told["experimentID"]), safe="")
    return f"{base}/#/experiments/{experiment}/runs/{run}/artifacts/{path}"


def with_report(message: str, evaluation: Evaluation | None) -> str:
    """``message`` of an Event about a verdict, with where to read on."""
    return f"{message} (report: {evaluation.report})" if evaluation and evaluation.report else message


def _bare(address: str) -> str:
    """``address`` without credentials, query and fragment."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
