"""The HTTP application."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from viridian_server.admin import Admin
from viridian_server.metrics import Metrics
from viridian_server.middleware import identified, measured
from viridian_server.protocol import OpenInference
from viridian_server.settings import Settings
from viridian_server.staging import Stager
from viridian_server.state import ServerState


def make_application(state: ServerState, metrics: Metrics, settings: Settings) -> web.Application:
    """Put the handlers together."""

    async def scrape(_request: web.Request) -> web.Response:
        metrics.ready.set(state.ready)
        if state.following is not None:
            metrics.lag_seconds.set(state.following.lag_seconds)
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application(
        middlewares=[measured(metrics), identified(state)], client_max_size=settings.max_body_bytes
    )
    inference = OpenInference(state, metrics, threads=settings.threads, max_in_flight=settings.max_in_flight)
    application.add_routes(inference.routes())
    stager = Stager(state, metrics, settings)
    application.add_routes(Admin(state, metrics, settings.token_file, stager).routes())

    async def close(_application: web.Application) -> None:
        await stager.close()

    application.on_shutdown.append(close)
    application.add_routes([web.get("/metrics", scrape)])
    return application
