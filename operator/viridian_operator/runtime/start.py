"""Checks before the watches start, with messages that say what to do."""

from __future__ import annotations

import asyncio
import logging
import time

from viridian_operator.api import base
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
    """Return when the API server answers and serves ModelUpdates.

    Raises
    ------
    StartError
        If it does not answer within ``patience`` seconds, does not know the kind, or refuses us.
    """
    deadline = time.monotonic() + patience
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


def _not_installed() -> str:
    return (
        f"the API server does not serve {base.PLURAL}.{base.GROUP} {base.VERSION}: install the CRD first, "
        "for example by viridian-operator crd | kubectl apply --server-side -f -"
    )
