"""``viridian-server``: serve the revision that is mounted."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import NoReturn

from viridian_server.failure import LoadFailure, write_termination_log
from viridian_server.lifecycle import Server
from viridian_server.logs import configure
from viridian_server.revision import read_revision
from viridian_server.settings import read_settings, termination_log

log = logging.getLogger("viridian_server")

SWITCH_SECONDS = 0.0005
"""A request does not wait for 5 ms, Python's default, while another thread applies a delta."""


def run() -> int:
    """Serve until stopped; return the exit code."""
    configure("INFO")
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        settings = read_settings(os.environ)
        configure(settings.log_level)
        asyncio.run(Server(settings, read_revision(settings.revision_directory)).run())
    except LoadFailure as failure:
        log.error("cannot serve", extra={"reason": failure.reason, "error": failure.message})
        try:
            write_termination_log(termination_log(os.environ), failure)
        except OSError as problem:
            log.warning("the termination log cannot be written", extra={"error": str(problem)})
        return failure.exit_code
    return 0


def main() -> NoReturn:
    """Run, then end at once: a load that is still in a library call is not waited for."""
    code = run()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
