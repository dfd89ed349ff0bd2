"""Every condition type, reason and message template; the one vocabulary of status and events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from viridian_operator.api.status import Condition


class Type(StrEnum):
    """Condition types; ``Reconciling``, ``Stalled``, ``Stale``, ``Drifted``, ``DriftUnwatched`` and
    ``InvariantViolated`` are absent when fine (kstatus). ``Drifted`` is of aliases, not of data. ``OnlineTraining``
    is there with strategy Online only, and true while replicas get what is trained."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SERVING_AVAILABLE = "ServingAvailable"
    TRAINED = "Trained"
    GATE_PASSED = "GatePassed"
    PROMOTED = "Promoted"
    STALE = "Stale"
    DRIFTED = "Drifted"
    IDENTITY_UNPROVEN = "IdentityUnproven"
    DRIFT_UNWATCHED = "DriftUnwatched"
    INVARIANT_VIOLATED = "InvariantViolated"
    ONLINE_TRAINING = "OnlineTraining"


class Reason(StrEnum):
    """Reasons of conditions, events and ends of updates."""

    # serving
    SERVING = "Serving"
    NOTHING_SERVES = "NothingServesYet"
    TOO_OLD = "TooOld"
    NO_EVENT_TIME = "NoEventTime"
    NO_READY_ENDPOINTS = "NoReadyEndpoints"
    # spec
    INVALID_SPEC = "InvalidSpec"
    NAME_TAKEN = "NameTaken"
    PINNED = "Pinned"
    PIN_FAILED = "PinFailed"
    # triggers
    FIRST_MODEL = "FirstModel"
    SCHEDULE = "Schedule"
    NEW_EVENTS = "NewEvents"
    WATERMARK_AGE = "WatermarkAge"
    DRIFT = "Drift"
    TRIGGER_SKIPPED = "TriggerSkipped"
    SPEC_CHANGED = "SpecChanged"
    REQUESTED = "Requested"
    TEMPLATE_CHANGED = "TemplateChanged"
    FOLLOWED = "Followed"
    NOTHING_TO_FOLLOW = "NothingToFollow"
    GIVEN_UP = "GivenUp"
    # training and evaluation
    QUEUED = "Queued"
    TRAINING_SLOTS = "TrainingSlots"
    TRAINING_STARTED = "TrainingStarted"
    TRAINED = "Trained"
    TRAINING_FAILED = "TrainingFailed"
    BAD_DATA = "BadData"
    DATA_TRIMMED = "DataTrimmed"
    NO_NEW_DATA = "NoNewData"
    WINDOW_SKIPPED = "WindowSkipped"
    BAD_CONFIGURATION = "BadConfiguration"
    BAD_USAGE = "BadUsage"
    OUT_OF_MEMORY = "OutOfMemory"
    GATE_INPUT_MISSING = "GateInputMissing"
    INFRASTRUCTURE = "Infrastructure"
    LOG_UNREACHABLE = "LogUnreachable"
    PEER_LOST = "PeerLost"
    KILLED = "Killed"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"
    NODE_SHUTDOWN = "NodeShutdown"
    NODE_REFUSED = "NodeRefused"
    SUSPENDED = "Suspended"
    DISRUPTED = "Disrupted"
    POD_LOST = "PodLost"
    JOB_DELETED = "JobDeleted"
    RESULT_MISMATCH = "ResultMismatch"
    CODE_FAILED = "CodeFailed"
    UNSCHEDULABLE = "Unschedulable"
    VOLUME_MISSING = "VolumeMissing"
    VOLUME_LOST = "VolumeLost"
    VOLUME_UNBOUND = "VolumeUnbound"
    IMAGE_PULL = "ImagePull"
    POD_INVALID = "PodInvalid"
    REPLICA_FAILURE = "ReplicaFailure"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    QUEUE_DEADLINE_EXCEEDED = "QueueDeadlineExceeded"
    TOTAL_DEADLINE_EXCEEDED = "TotalDeadlineExceeded"
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    VERSION_MISSING = "VersionMissing"
    # gate
    GATE_PASSED = "GatePassed"
    GATE_REJECTED = "GateRejected"
    GATE_INCONCLUSIVE = "Inconclusive"
    QUARANTINED = "Quarantined"
    REPEATEDLY_REJECTED = "RepeatedlyRejected"
    # rollout
    PREPARING = "Preparing"
    VERIFIED = "Verified"
    DIGEST_MISMATCH = "DigestMismatch"
    BAD_BUNDLE = "BadBundle"
    WARMUP_FAILED = "WarmupFailed"
    CRASH_LOOP = "CrashLoop"
    IDENTITY_MISMATCH = "IdentityMismatch"
    GOLDEN_FAILED = "GoldenFailed"
    AWAITING_APPROVAL = "AwaitingApproval"
    APPROVAL_EXPIRED = "ApprovalExpired"
    SWITCHING = "Switching"
    SWITCHED = "TrafficSwitched"
    SWITCH_FAILED = "SwitchFailed"
    BAKING = "Baking"
    PROMOTED = "Promoted"
    HEALTH_CHECK_FAILED = "HealthCheckFailed"
    ENDPOINTS_LOST = "EndpointsLost"
    BAKE_INCONCLUSIVE = "BakeInconclusive"
    ROLLING_BACK = "RollingBack"
    ROLLBACK_BLOCKED = "RollbackBlocked"
    REVISION_FAILED = "RevisionFailed"
    NOT_SWAPPABLE = "NotSwappable"
    # ends by people
    ABORTED = "Aborted"
    REJECTED = "Rejected"
    SUPERSEDED = "Superseded"
    # monitor of the loss
    MONITOR_NOT_READY = "MonitorNotReady"
    NO_LOSS = "NoLoss"
    # online training; an attempt that was told to stop is Stopped, too
    ANCHOR = "Anchor"
    ONLINE_NOT_READY = "OnlineTrainerNotReady"
    ONLINE_STARTED = "OnlineTrainingStarted"
    ONLINE_ENDED = "OnlineTrainingEnded"
    PUBLISHING = "Publishing"
    SHADOW = "Shadow"
    STARTING = "Starting"
    STOPPED = "Stopped"
    REVERTED = "Reverted"
    REPAIRED = "Repaired"
    CHAIN_NEEDED = "ChainNeeded"
    # drift and repair
    ROLLED_BACK_BY_REQUEST = "RolledBackByRequest"
    ALIAS_DRIFT = "AliasDrift"
    ALIAS_PENDING = "AliasPending"
    SELECTOR_RESTORED = "SelectorRestored"
    RECORD_RESTORED = "RecordRestored"
    STANDING_IN = "StandingIn"
    STATUS_RECOVERED = "StatusRecovered"
    READINESS_ONLY = "ReadinessOnly"
    INVARIANT_VIOLATED = "InvariantViolated"


def set_condition(
    conditions: Iterable[Condition],
    kind: Type,
    value: bool | None,
    reason: Reason | str,
    message: str,
    *,
    generation: int,
    now: datetime,
) -> list[Condition]:
    """``conditions`` with one replaced; the transition time moves only with the status.

    ``value`` None means Unknown.
    """
    status = "Unknown" if value is None else str(value)
    old = next((c for c in conditions if c.type == kind), None)
    since = old.last_transition_time if old and old.status == status else now
    new = Condition(
        type=kind.value,
        status=status,
        observed_generation=generation,
        last_transition_time=since,
        reason=str(reason),
        message=message,
    )
    return sorted([c for c in conditions if c.type != kind] + [new], key=lambda c: c.type)


def drop_condition(conditions: Iterable[Condition], kind: Type) -> list[Condition]:
    """``conditions`` without ``kind``."""
    return [c for c in conditions if c.type != kind]
