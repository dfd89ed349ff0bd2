"""Checks before the watches start, with messages that say what to do."""

from __future__ import annotations

import asyncio
import logging
import time

from viridian_operator.api import base
from viridian_operator.api.served import missing_fields
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.errors import ApiError, Forbidden, Invalid, NotFound, Unavailable
from viridian_operator.kube.resources import MODEL_UPDATE

#: Name to ask for; whether there is one does not matter.
NOBODY = "viridian-start-check"
PATIENCE = 30.0

log = logging.getLogger(__name__)


class StartError(Exception):
    """The operator cannot start; the message says what to do."""


async def check_api(cluster: Cluster, namespace: str, *, patience: float = PATIENCE) -> None:
    """Return when the API server answers and serves ModelUpdates that hold all of our status.

    Raises
    ------
    StartError
        If it does not answer within ``patience`` seconds, does not know the kind or only an older form of it, or
        refuses us.
    """
    deadline = time.monotonic() + patience
    await _answers(cluster, namespace, deadline)
    # what the API server publishes follows a CRD that was just upgraded within seconds
    while lacking := await _lacking(cluster):
        if time.monotonic() > deadline:
            raise StartError(_outdated(lacking))
        log.warning("waiting for the CRD of this release: %s", _outdated(lacking))
        await asyncio.sleep(1)


async def _answers(cluster: Cluster, namespace: str, deadline: float) -> None:
    while True:
        try:
            await cluster.get(MODEL_UPDATE, namespace, NOBODY)
        except NotFound:
            return
        except Forbidden as error:
            raise StartError(f"the operator may not read {base.PLURAL}: {error}; apply its Role") from error
        except Unavailable as error:
            if error.code == 404:
                raise StartError(_not_installed()) from error
            if time.monotonic() > deadline:
                raise StartError(f"the API server does not answer: {error}") from error
            log.warning("waiting for the API server: %s", error)
            await asyncio.sleep(1)
        except (Invalid, ApiError) as error:
            raise StartError(f"the API server refuses to read {base.PLURAL}: {error}") from error
        else:
            return


async def _lacking(cluster: Cluster) -> list[str]:
    """Fields of our status that the API server would refuse; none if it does not tell."""
    try:
        return missing_fields(await cluster.openapi(MODEL_UPDATE), MODEL_UPDATE.kind)
    except ApiError as error:
        log.warning("cannot read the schema of %s, so it is not checked: %s", base.PLURAL, error)
        return []


def _outdated(lacking: list[str]) -> str:
    return (
        f"the installed CRD is older than this operator and has no {', '.join(lacking[:3])}: upgrade it, "
        "for example by viridian-operator crd | kubectl apply --server-side --force-conflicts -f -"
    )


def _not_installed() -> str:
    return (
        f"the API server does not serve {base.PLURAL}.{base.GROUP} {base.VERSION}: install the CRD first, "
        "for example by viridian-operator crd | kubectl apply --server-side -f -"
    )
