"""Failures that a task reports, each with the exit code and reason of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class TaskError(Exception):
    """A failure that the operator understands.

    ``message`` is one sentence that says what to change; it must not contain credentials.
    """

    exit_code: ClassVar[int] = 1
    reason: ClassVar[str] = "Crashed"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadUsage(TaskError):
    """An environment variable or argument is missing or malformed."""

    exit_code = 64
    reason = "BadUsage"


class BadData(TaskError):
    """The events, or a version found in the registry, contradict what was asked for.

    ``events`` are counts as in the result of a training, as far as they are known.
    """

    exit_code = 65
    reason = "BadData"

    def __init__(self, message: str, events: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.events = dict(events or {})


class DataTrimmed(BadData):
    """The event log no longer holds every entry of the window."""

    reason = "DataTrimmed"


class BadConfig(TaskError):
    """``spec.data``, ``spec.training.config`` or ``spec.gate`` asks for something impossible."""

    exit_code = 78
    reason = "BadConfig"


class GateInputMissing(TaskError):
    """A version that the evaluation needs, or one of its files, cannot be read."""

    exit_code = 3
    reason = "GateInputMissing"


class Unreachable(TaskError):
    """A service cannot be reached now; the same task may succeed later."""

    exit_code = 75


class RegistryUnreachable(Unreachable):
    """The model registry does not answer."""

    reason = "RegistryUnreachable"


class LogUnreachable(Unreachable):
    """The event log does not answer."""

    reason = "LogUnreachable"


class PeerLost(Unreachable):
    """Another rank of the training ended or hangs: the reason of the failure is there, not here."""

    reason = "PeerLost"


class StoreUnreachable(Unreachable):
    """The store of deltas and anchors does not answer."""

    reason = "StoreUnreachable"


class Stopped(TaskError):
    """The task was asked to stop and wrote a checkpoint if it had something to keep."""

    exit_code = 143
    reason = "Stopped"
