"""The endpoint that MLflow's webhooks are sent to: a hint to look now, never what to do.

Whoever follows a model looks at the registry by itself all the same; a lost webhook costs one interval of polling.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from viridian_operator.registry.webhook import Deliveries, Malformed, Refused, model_of

PATH = "/webhooks/mlflow"
LARGEST_BODY = 256 * 1024

log = logging.getLogger(__name__)


class WebhookServer:
    """HTTP server for one path, on a port of its own.

    Parameters
    ----------
    secret
        File with the secret that MLflow signs with.
    leading
        Whether this process works; another one is asked to try again, which then reaches the other replica.
    hint
        Called with the name of a registered model that something happened to.
    count
        Called with what became of each request: accepted, repeated, ignored, standby, refused, malformed.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        secret: Path,
        leading: Callable[[], bool],
        hint: Callable[[str], None],
        count: Callable[[str], None],
    ) -> None:
        self._host, self._port, self._secret = host or None, port, secret
        self._leading, self._hint, self._count = leading, hint, count
        self._deliveries = Deliveries(self._read_secret)
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_post(PATH, self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def start(self) -> int:
        """Listen; returns the port.

        Raises
        ------
        OSError
            If the secret cannot be read, or the port is taken.
        """
        if not self._read_secret():
            raise OSError(f"{self._secret} with the secret of webhooks is empty")
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    def _read_secret(self) -> bytes:
        return self._secret.read_bytes().strip()

    async def _receive(self, request: web.Request) -> web.Response:
        status, result, text = self._judge(request, await request.read())
        self._count(result)
        answer = web.Response(status=status, text=f"{text}\n")
        if status == web.HTTPServiceUnavailable.status_code:
            answer.force_close()  # a new connection may lead to the other replica
        return answer

    def _judge(self, request: web.Request, body: bytes) -> tuple[int, str, str]:
        """Status, what is counted, and what is said."""
        try:
            if not self._leading():
                return 503, "standby", "this replica does not work now; try again"
            new = self._deliveries.check(request.headers, body)
            model = model_of(body)
        except Refused as problem:
            log.debug("a webhook was refused: %s", problem)  # counted; whoever sends them must not fill the log
            return 401, "refused", str(problem)
        except Malformed as problem:
            return 400, "malformed", str(problem)
        except OSError as error:
            log.error("webhooks cannot be verified: %s", error)
            return 503, "unverified", "the secret cannot be read now; try again"
        if not new:
            return 200, "repeated", "known already"
        if not model:
            return 200, "ignored", "nothing that is followed"
        self._hint(model)
        return 200, "accepted", "whoever follows the model looks now"
