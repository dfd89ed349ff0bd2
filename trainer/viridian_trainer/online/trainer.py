"""The online trainer: follow the log, predict, train, publish; stop, go back and try again when it got worse."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

from viridian_model.errors import BundleError
from viridian_model.publication.anchors import fetch_anchor, put_anchor
from viridian_model.publication.garbage import GarbageCollector
from viridian_model.publication.head import Anchor, Head
from viridian_model.publication.lease import Fenced
from viridian_model.publication.publisher import Publisher
from viridian_model.served import state_of
from viridian_model.store import Absent, Store, StoreUnavailable
from viridian_trainer.download import fetch_bundle
from viridian_trainer.environment import OnlineInput, VersionRef
from viridian_trainer.errors import BadConfig, BadData, LogUnreachable, StoreUnreachable, Unreachable
from viridian_trainer.eventlog import Entry, EventLog, Window, check_present
from viridian_trainer.online.anchors import Anchors, Written
from viridian_trainer.online.branch import Branch
from viridian_trainer.online.champion import Champion
from viridian_trainer.online.checkpoints import Checkpoints, Standing
from viridian_trainer.online.judging import Judge, Judgement
from viridian_trainer.online.prequential import Prequential
from viridian_trainer.online.publication import LEASE_SECONDS, PATIENCE, Publication, Unsound
from viridian_trainer.online.reader import Reader
from viridian_trainer.online.recovery import continues, has_reached, is_promoted, replay, total
from viridian_trainer.online.status import Status
from viridian_trainer.registry import Registered, Registry, VersionMissing
from viridian_trainer.spec import model_spec, split_config
from viridian_trainer.stop import StopRequest
from viridian_trainer.training.checkpoint import Checkpoint
from viridian_trainer.training.train import make_deterministic

State = Literal["Starting", "Publishing", "Stopped", "Shadow"]
#: Seconds between two checkpoints; steps since the last are made again after a crash.
SAVE_SECONDS = 30.0
#: Seconds between two questions for a verdict, between two tries to register, and between two collections of garbage.
ASK_SECONDS, RETRY_SECONDS, COLLECT_SECONDS = 1.0, 5.0, 600.0
#: A batch is read at most so often within one interval of publication.
BATCHES_PER_INTERVAL = 4
_log = logging.getLogger(__name__)
