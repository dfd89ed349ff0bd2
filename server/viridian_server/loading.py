"""From the wanted revision to a snapshot that may serve. Blocking: runs in a thread of its own."""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from viridian_model.errors import BundleError
from viridian_model.store import Absent, StoreError, open_store
from viridian_server.failure import LoadFailure
from viridian_server.registry import download
from viridian_server.residents import Phase
from viridian_server.revision import Revision
from viridian_server.settings import Settings
from viridian_server.snapshot import Snapshot
from viridian_server.store import BundleStore

if TYPE_CHECKING:
    from viridian_model.bundle import Bundle

log = logging.getLogger(__name__)

Report = Callable[[Phase], None]


def load(
    revision: Revision, settings: Settings, report: Report, stop: threading.Event, beside: Snapshot | None = None
) -> Snapshot:
    """Fetch unless the store has it, verify, load, warm up; ``report`` is told of every phase.

    With ``beside`` it must be possible to swap one for the other: equal but for the weights.

    Raises:
        LoadFailure: it cannot be served.
        Stopped: ``stop`` was set.
    """
    # torch takes seconds to import: beside the fetch, and after the port answers.
    threading.Thread(target=importlib.import_module, args=("viridian_model.bundle",), daemon=True).start()
    try:
        bundle = _obtain(revision, settings, report, stop)
        if beside is not None:
            _check_fit(bundle, beside)
        report(Phase.LOADING)
        return _warmed_up(bundle, revision, settings, report)
    except BundleError as error:
        raise LoadFailure(error.reason, error.message) from error
    except OSError as error:
        raise LoadFailure("BadConfig", f"the bundle store {settings.store} cannot be used: {error}") from error


def _warmed_up(bundle: Bundle, revision: Revision, settings: Settings, report: Report) -> Snapshot:
    import torch

    from viridian_model.inference import Golden, check_golden

    torch.set_num_threads(settings.torch_threads)
    if bundle.manifest.model != revision.model:
        raise LoadFailure("BadBundle", f"manifest.json is of model {bundle.manifest.model!r}")
    model = bundle.load_model()
    report(Phase.WARMING_UP)
    check_golden(model, bundle.golden)
    if revision.golden is not None:
        check_golden(model, Golden.from_json(revision.golden))
    event_time = bundle.manifest.event_time
    event_time = revision.event_time if event_time is None else event_time
    return Snapshot(revision.model, revision.version, revision.digest, event_time, bundle.manifest, bundle.spec, model)


def _check_fit(bundle: Bundle, beside: Snapshot) -> None:
    """Raise `LoadFailure` unless the bundle differs from what answers in its weights only."""
    mine, theirs = bundle.spec.to_json(), beside.spec.to_json()
    differing = [key for key in theirs if mine[key] != theirs[key]]
    if bundle.manifest.signature != beside.manifest.signature:
        differing.append("signature")
    if differing:
        raise LoadFailure(
            "DoesNotFit",
            f"{bundle.digest} differs from what answers ({beside.digest}) in {', '.join(differing)}; "
            "a hot swap changes weights only: roll it out with capacity: Surge",
        )


def _obtain(revision: Revision, settings: Settings, report: Report, stop: threading.Event) -> Bundle:
    store = BundleStore(settings.store)
    if store.path(revision.digest).is_dir():
        report(Phase.VERIFYING)
        try:
            if bundle := store.read(revision.digest):
                return bundle
        except BundleError as error:
            log.error("stored bundle is corrupt, fetching it again", extra={"error": error.message})
            store.quarantine(revision.digest)
    report(Phase.FETCHING)
    if settings.chain_store and (bundle := _from_chain_store(revision, settings, store)):
        return bundle
    if not settings.tracking_uri:
        raise LoadFailure("BadConfig", "the bundle is not in the store and MLFLOW_TRACKING_URI is not set")
    deadline = time.monotonic() + settings.fetch_timeout

    def fetched(into: Path) -> None:
        download(revision, into, deadline, stop)
        report(Phase.VERIFYING)

    return store.add(revision.digest, fetched)


def _from_chain_store(revision: Revision, settings: Settings, bundles: BundleStore) -> Bundle | None:
    """Fetch an anchor from the store of deltas; None if it cannot be had there."""
    from viridian_model.publication.anchors import fetch_anchor

    store = open_store(settings.chain_store, os.environ)
    try:
        fetch_anchor(store, revision.chain, revision.digest, bundles.path(revision.digest))
        return bundles.read(revision.digest)
    except Absent:
        return None
    except (StoreError, BundleError, ValueError) as error:  # the latter where the model's name is none of a chain
        log.warning("not fetched from the store of deltas", extra={"digest": revision.digest, "error": str(error)})
        return None
    finally:
        store.close()
