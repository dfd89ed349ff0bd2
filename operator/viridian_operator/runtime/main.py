"""From settings to a running operator, and back down in order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time

from viridian_operator import __version__
from viridian_operator.kube.access import load_access
from viridian_operator.kube.errors import Invalid
from viridian_operator.runtime import logging as json_logging
from viridian_operator.runtime.process import BuildReconciler, Process, assemble
from viridian_operator.runtime.settings import Settings
from viridian_operator.runtime.start import StartError, check_api

#: Seconds at the exit for Events that still wait, and for the watches to end.
FLUSH = 1.0
WATCHES_END = 1.0

log = logging.getLogger(__name__)


async def serve(settings: Settings, build: BuildReconciler | None = None) -> int:
    """Run until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        How to run.
    build
        Makes the reconciler; by default that of ``runtime.reconcile``.

    Returns
    -------
    int
        Exit code: 0 after a signal, 1 when a part of the process failed, 2 when it could not start.
    """
    json_logging.configure(settings.log_level)
    stopping = asyncio.Event()

    def take_signals() -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, stopping.set)

    try:
        access = await load_access(settings.kubeconfig, strict_x509=settings.strict_x509)
        process = assemble(settings, access, build or _reconciler(), take_signals=take_signals)
    except Invalid as error:
        log.critical("cannot start: %s", error)
        return 2
    take_signals()
    try:
        return await _run(process, stopping)
    except (StartError, OSError) as error:
        log.critical("cannot start: %s", error)
        return 2
    finally:
        await process.cluster.close()


def _reconciler() -> BuildReconciler:
    """Imported late: whoever brings a reconciler of his own needs nothing of the rest."""
    from viridian_operator.runtime.reconcile import build_reconciler

    return build_reconciler


async def _run(process: Process, stopping: asyncio.Event) -> int:
    settings = process.settings
    port = await process.probes.start()
    log.info("viridian-operator %s as %s, probes and metrics on port %d", __version__, settings.identity, port)
    if process.webhooks is not None:
        log.info("webhooks of MLflow are received on port %d", await process.webhooks.start())
    shell: asyncio.Task[None] | None = None
    background = [
        asyncio.create_task(process.heartbeat.run(), name="heartbeat"),
        asyncio.create_task(process.recorder.run(), name="events"),
        asyncio.create_task(process.poller.run(), name="poller"),
        asyncio.create_task(_lead(process), name="lease"),
    ]
    stop = asyncio.create_task(stopping.wait(), name="stop")
    try:
        if await _checked(process, stop):
            process.workers.start()
            # Last, since kopf takes every later task for its own.
            shell = asyncio.create_task(process.shell.run(), name="shell")
            parts = [shell, *background, *process.workers.tasks]
            await asyncio.wait([stop, *parts], return_when=asyncio.FIRST_COMPLETED)
        failed = [] if stop.done() else _failures([*background, *process.workers.tasks, *([shell] if shell else [])])
        return 1 if failed else 0
    finally:
        await _shut_down(process, shell)
        for task in (stop, *background):
            task.cancel()
        await asyncio.gather(stop, *background, return_exceptions=True)


async def _checked(process: Process, stop: asyncio.Task[bool]) -> bool:
    """Whether the API server is there; False when asked to stop meanwhile."""
    settings = process.settings
    namespace = settings.namespaces[0] if settings.namespaces else settings.lease_namespace
    check = asyncio.create_task(check_api(process.cluster, namespace), name="check")
    await asyncio.wait([check, stop], return_when=asyncio.FIRST_COMPLETED)
    if not check.done():
        check.cancel()
        return False
    check.result()
    return True


async def _lead(process: Process) -> None:
    """Open the gate of the workers for as long as the Lease is held."""
    if process.elector is not None:
        await process.elector.acquire()
    process.metrics.leading(now=True)
    process.workers.gate.set()
    if process.elector is not None:
        await process.elector.hold()
    await asyncio.Event().wait()


def _failures(parts: list[asyncio.Task[None]]) -> list[str]:
    """Log every part that ended, which none should; at least one did."""
    ended = [part for part in parts if part.done()]
    for part in ended:
        error = None if part.cancelled() else part.exception()
        log.critical("%s ended, the process stops", part.get_name(), exc_info=error)
    return [part.get_name() for part in ended]


async def _shut_down(process: Process, shell: asyncio.Task[None] | None) -> None:
    """Finish passes, free the Lease for the next leader, then take the time to close the rest."""
    started = time.monotonic()
    await process.workers.drain(process.settings.drain)
    if process.elector is not None:
        await process.elector.release()
    process.metrics.leading(now=False)
    log.info("stopped working and released the Lease after %.2f s", time.monotonic() - started)
    await process.recorder.flush(FLUSH)
    if (close := getattr(process.workers.reconcile, "aclose", None)) is not None:
        await close()
    # Connections to the probes are tasks, too, and kopf would wait for them.
    await process.probes.stop()
    if process.webhooks is not None:
        await process.webhooks.stop()
    if shell is not None:
        process.shell.stop()
        await asyncio.wait([shell], timeout=WATCHES_END)
        if not shell.done():
            # kopf leaves a task behind when it is stopped in the middle of a listing, and would wait 5 s for
            # it. Watches have nothing to finish; what asyncio says about their generators is no news either.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            shell.cancel()
