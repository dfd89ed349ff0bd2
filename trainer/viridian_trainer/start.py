"""The task of a container: done here, or by several processes that are started from here."""

from __future__ import annotations

from collections.abc import Mapping

from viridian_trainer.gang import launch


def start(env: Mapping[str, str]) -> int:
    """Do what the ``VIRIDIAN_`` variables of ``env`` describe; gives the exit code of the contract."""
    if env.get("VIRIDIAN_TASK") == "Monitor":
        from viridian_trainer.drift.run import run as monitor  # without torch: it runs beside every model

        return monitor(env)
    if launch.is_wanted(env):
        return launch.supervise(env)
    from viridian_trainer.task import run  # imports torch, which the supervisor has no use for

    return run(env)
