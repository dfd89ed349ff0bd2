"""The moves of an online trainer: begin, go on, publish, make an anchor, promote it, go back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from viridian_model.chain.state import ModelState
from viridian_model.publication.anchors import put_anchor
from viridian_model.publication.head import Head
from viridian_model.served import state_of
from viridian_model.store import Store
from viridian_trainer.environment import OnlineInput, VersionRef
from viridian_trainer.errors import BadConfig, BadData, LogUnreachable
from viridian_trainer.eventlog import Entry, EventLog
from viridian_trainer.online.anchors import Anchors, Written
from viridian_trainer.online.branch import Branch
from viridian_trainer.online.champion import Champion
from viridian_trainer.online.champions import Champions
from viridian_trainer.online.checkpoints import Checkpoints, Standing
from viridian_trainer.online.desk import Answer, Desk
from viridian_trainer.online.prequential import Prequential
from viridian_trainer.online.publication import Pause, Publication, patiently
from viridian_trainer.online.reader import Reader
from viridian_trainer.online.recovery import (
    continues,
    has_reached,
    is_promoted,
    read_chain,
    replay,
    same_bits,
)
from viridian_trainer.online.status import State, Status
from viridian_trainer.spec import model_spec, split_config
from viridian_trainer.training.checkpoint import Checkpoint
from viridian_trainer.training.train import make_deterministic

_log = logging.getLogger(__name__)


class Work:
    """What an online trainer has in hands, and what it can do with it.

    Readers are brought to a state by the head only, and a checkpoint is written only of weights that readers have,
    rounding apart (unless nothing is published at all). So the steps of the journal lead from every checkpoint to
    the head.
    """

    branch: Branch
    reader: Reader
    standing: Standing

    def __init__(
        self,
        task: OnlineInput,
        log: EventLog,
        store: Store,
        champions: Champions,
        checkpoints: Checkpoints,
        publication: Publication,
        desk: Desk,
        anchors: Anchors,
        status: Status,
        prequential: Prequential,
        pause: Pause,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._task, self._log, self._store, self._champions = task, log, store, champions
        self._checkpoints, self._publication, self._desk = checkpoints, publication, desk
        self._anchors, self._status, self._prequential, self._clock = anchors, status, prequential, clock
        self._pause = pause
        self._config, rest = split_config(task.config)
        self._spec = model_spec(self._config, rest, task.data.event_schema)
        self._trained_at_delta = self._reverts = 0
        self._known: list[str] = []
        #: whether there is a branch to train
        self.begun = False
        self._ask_log_at, self._lag = 0.0, 0

    # Beginning and going on

    def begin(self) -> None:
        """Take the folder and the lease, and go on where an earlier process stopped.

        Raises
        ------
        TaskError
            If a service does not answer, the log was trimmed, or the configuration does not fit the champion.
        """
        make_deterministic(self._config, self._task.seed)
        saved = self._checkpoints.open()
        self._go_on(saved, self._publication.acquire(self._tell_why))

    def follow(self) -> None:
        """Somebody else wrote the head: take the lease again, and go on from what it is now."""
        self._desk.forget()
        head = self._publication.acquire(self._tell_why)
        self._checkpoints.journal.close()
        self._go_on(self._checkpoints.read(), head)

    def _tell_why(self, why: str) -> None:
        self._status.tell(state="Starting", error=why)

    def _go_on(self, saved: Checkpoint | None, head: Head | None) -> None:
        standing = Standing.load(saved.meta["standing"]) if saved else None
        if standing:
            self._known, self._reverts = standing.known, standing.reverts
        if saved and standing and continues(standing, head, self._champions.named):
            if self._restore(saved, standing, head):
                self.begun = True
                return
            _log.error("the steps that were made again did not lead to the head; going on from its anchor")
        self._branch_off(head)
        self.begun = True

    def _restore(self, saved: Checkpoint, standing: Standing, head: Head | None) -> bool:
        """Make the steps since the checkpoint again; false if that does not lead to what readers have."""
        self.standing = standing
        self.branch = self._new_branch(self._champions.get(VersionRef(*standing.champion)))
        self.branch.load_state(saved.tensors, saved.meta["branch"])
        self._read_from_branch()
        if head and is_promoted(standing, head):
            self._adopt()
        exact = self._task.online.selection.is_exact and saved.meta.get("exact", True)
        proof = same_bits if exact else self._read_back
        served = replay(self.branch, self.reader, self._checkpoints.journal, head, proof, self._write_anchor)
        if head is not None:
            standing.epoch = head.epoch
        if standing.shadow or standing.catching_up is not None:
            return True
        if head is None:
            self._rebase()
        elif served is not None:
            self._publication.serve(head.anchor.digest, served)
        elif head.root == self.branch.champion.bundle.manifest.merkle_root:
            self._serve_champion()
        else:
            return False
        return True

    def _read_back(self, branch: Branch, head: Head) -> ModelState | None:
        """What readers have, where deltas leave out or round: never exactly the weights of the trainer."""
        branch.touched.add_all()
        anchor = self._champions.get(VersionRef(head.anchor.version, head.anchor.digest))
        store, chain = self._store, self._task.chain
        return patiently(lambda: read_chain(store, chain, head, state_of(anchor.model).copy()), self._pause)

    def _branch_off(self, head: Head | None) -> None:
        """Go back to the champion and train on from where it ended; what readers have is left to them for now."""
        champion = self._champions.base(head, self._known)
        shadow = head is not None and bool(head.reason) and champion.bundle.digest == head.anchor.digest
        self.branch = self._new_branch(champion)
        self._read_from_branch()
        self._known = list(dict.fromkeys([*self._known, self._champions.named.digest, champion.bundle.digest]))
        self._reverts += shadow
        self.standing = Standing(
            epoch=head.epoch if head else 0,
            champion=(champion.version, champion.bundle.digest),
            shadow=shadow,
            catching_up=dict(head.trained_to) if head and not shadow else None,
            known=self._known,
            reverts=self._reverts,
            anchored_at=self._clock(),
        )
        if head is None:
            self._rebase()
        elif not shadow and head.root == champion.bundle.manifest.merkle_root:
            self.standing.catching_up = None
            self._serve_champion()
        if not self._save_now():  # the journal would go on behind a checkpoint of another branch
            raise BadConfig("VIRIDIAN_CHECKPOINT_DIR refuses checkpoints; give it more space")

    def _read_from_branch(self) -> None:
        self.reader = Reader(self._log, self._task.data.event_schema, self.branch.learner.offsets)
        self.reader.check()

    def _new_branch(self, champion: Champion) -> Branch:
        if champion.bundle.spec.to_json() != self._spec.to_json():
            raise BadConfig(
                "spec.training.config or spec.data.schema differ from those of the champion in what makes the model; "
                "run a Full update, or undo the change"
            )
        return Branch(self._task, self._config, champion, self._prequential, self._log)

    # Training and publishing

    @property
    def state(self) -> State:
        """What is told to people."""
        if self.standing.catching_up is not None:
            return "Starting"
        return "Shadow" if self.standing.shadow else "Publishing"

    @property
    def publishes(self) -> bool:
        """Whether readers get what is trained."""
        return self.state == "Publishing"

    @property
    def published_all(self) -> bool:
        """Whether nothing waits for the next delta."""
        return not self.publishes or self._trained_at_delta == self.branch.learner.counts.trained

    def train(self, entries: Sequence[Entry]) -> None:
        """A batch: written into the journal, predicted, and trained on."""
        self._checkpoints.journal.batch({entry.partition: entry.offset_after for entry in entries})
        self.branch.train(entries)
        wanted = self.standing.catching_up
        if wanted is not None and has_reached(self.branch.learner.offsets, wanted):
            self._rebase()
            self.save()

    def publish(self) -> bool:
        """Begin to publish a delta; false if there is nothing to publish, or one is under way."""
        self._publication.keep_lease()
        self._publication.settle()
        if not self.publishes or (self.published_all and not self._publication.unsent):
            return False
        self._publication.collect(self._pinned())
        trained = self.branch.learner.counts.trained
        self._checkpoints.journal.sync()
        if not self._publication.offer(self.branch):
            return False
        self._trained_at_delta = trained
        return True

    def save(self) -> bool:
        """Write a checkpoint; false if readers cannot be brought to the same weights now, or the disk refuses it."""
        return (not self.publishes or self._flush()) and self._save_now()

    def _save_now(self) -> bool:
        tensors, meta = self.branch.state()
        exact = self._task.online.selection.is_exact
        saved = self._checkpoints.save(tensors, {"branch": meta, "standing": self.standing.wire(), "exact": exact})
        self._anchors.keep(self._pinned())
        return saved

    def _flush(self) -> bool:
        self._checkpoints.journal.sync()
        done = self._publication.flush(self.branch)
        if done:
            self._trained_at_delta = self.branch.learner.counts.trained
        return done

    def _pinned(self) -> set[str]:
        pending = self.standing.pending
        return {self.standing.champion[1], *([pending.digest] if pending else [])}

    # Anchors

    def anchor_is_due(self) -> bool:
        """Whether so much time has passed, or so many events, that there should be another anchor."""
        standing, trained = self.standing, self.branch.learner.counts.trained
        if standing.pending is not None or standing.catching_up is not None:
            return False
        if (
            self.branch.passage.events(self.branch.learner.counts)["trained"] == 0
            or trained == standing.anchored_events
        ):
            return False
        settings = self._task.online
        late = self._clock() - standing.anchored_at >= settings.anchor_every
        return late or trained - standing.anchored_events >= settings.anchor_events

    def make_anchor(self) -> None:
        """Make an anchor of the present weights; the next checkpoint holds it.

        Raises
        ------
        BadData
            If too many entries were unreadable.
        """
        self._check_rejected()
        if not self.save():
            return
        sequence = self._next_sequence()
        self._checkpoints.journal.anchor(sequence)
        self._write_anchor(sequence)
        self.save()

    def _write_anchor(self, sequence: str) -> None:
        self.branch.begin_anchor()
        self.standing.pending = self._anchors.write(self.branch, sequence, self._clock())
        self.standing.anchored_at = self._clock()
        self.standing.anchored_events = self.branch.learner.counts.trained
        self.standing.shadow_anchors += self.standing.shadow
        _log.info("anchor written", extra={"sequence": sequence, "digest": self.standing.pending.digest})

    def _next_sequence(self) -> str:
        head = self._publication.head
        n = head.n if head else 0
        return f"{self.standing.epoch}.{n + 1 + self.standing.shadow_anchors}"

    def _check_rejected(self) -> None:
        counted = self.branch.passage.events(self.branch.learner.counts)
        entries, allowed = (
            sum(counted[name] for name in ("trained", "duplicates", "rejected")),
            self._task.data.max_rejected,
        )
        if counted["rejected"] > allowed * entries:
            raise BadData(
                f"{counted['rejected']} of {entries} entries are unreadable, data.maxRejected allows {allowed:g}; "
                "see the dead letters of the event log"
            )

    def ask(self) -> Answer | None:
        """How it stands with the anchor without verdict."""
        pending = self.standing.pending
        if pending is None:
            return None
        answer = self._desk.ask(pending, self.branch.champion.ref)
        if isinstance(answer, Written):
            self.standing.pending = answer
        return answer

    def promote(self) -> None:
        """The anchor passed: it is the champion, and the chain restarts from it."""
        if not self.save():  # what follows is recognised after a crash by what stands in this checkpoint
            return
        self._adopt()
        self._rebase()
        self.save()

    def drop_anchor(self) -> None:
        """The anchor can be neither promoted nor rejected: the passage goes on to the next."""
        self.branch.drop_anchor()
        self.standing.pending = None

    def _adopt(self) -> None:
        pending = self.standing.pending
        if pending is None:
            raise RuntimeError("no anchor waits for a verdict")
        self.branch.adopt(Champion(pending.version, self._anchors.bundle(pending.digest)))
        self.standing.champion, self.standing.pending = (pending.version, pending.digest), None
        self.standing.known = [*self.standing.known, pending.digest]
        self.standing.shadow = False

    def _rebase(self) -> None:
        """Begin an epoch at the champion, and bring readers to the present weights with its first delta."""
        champion = self.branch.champion
        manifest = champion.bundle.manifest
        store, chain, folder = self._store, self._task.chain, champion.bundle.directory
        anchor = patiently(lambda: put_anchor(store, chain, champion.version, folder), self._pause)
        head = self._publication.begin_epoch(anchor, dict(manifest.trained_to), manifest.event_time)
        self.standing.epoch, self.standing.catching_up, self.standing.shadow_anchors = head.epoch, None, 0
        self._serve_champion()
        self._flush()

    def _serve_champion(self) -> None:
        champion = self.branch.champion
        self.branch.touched.add_all()
        self._publication.serve(champion.bundle.digest, state_of(champion.model).copy())

    # Going back

    def go_back(self, reason: str) -> None:
        """Stop publishing, bring all readers back to the champion, and train on from there in the shadow."""
        _log.error("going back to the champion", extra={"reason": reason, "sequence": self._sequence})
        self._status.tell(state="Stopped", error=reason)
        self._desk.forget()
        head = self._publication.acquire(self._tell_why)
        if head is not None and head.epoch == self.standing.epoch and not self.standing.shadow:
            head = self._publication.revert(reason)
        self._branch_off(head)

    # Telling and ending

    @property
    def _sequence(self) -> str:
        head = self._publication.head
        return str(head.sequence) if head else ""

    def tell(self, error: str | None = None) -> None:
        """Bring the status up to date."""
        head, learner, champion = self._publication.head, self.branch.learner, self.branch.champion
        behind, newest = self._behind(), learner.watermark.newest
        self._status.tell(
            state=self.state,
            chain=self._task.chain,
            sequence=str(head.sequence) if head else "",
            token=self._publication.token,
            root=head.root if head else "",
            trainedTo=dict(learner.offsets),
            eventTime=newest,
            lag={"events": behind, "seconds": max(0.0, round(self._clock() - newest, 3)) if behind else 0.0},
            published=self._publication.sent.wire(),
            test={
                "verdict": self.branch.test.verdict,
                "bound": self.branch.test.bound,
                "events": self.branch.test.events,
            },
            reverts=self.standing.reverts,
            anchor=_told(self.standing.pending, champion),
            error=error or (head.reason if head and head.reason else None),
        )

    def _behind(self) -> int:
        """Entries that wait in the log; while there are any, it is asked once a second for how many."""
        if not self.reader.lag:
            return 0
        if time.monotonic() >= self._ask_log_at:
            self._ask_log_at = time.monotonic() + 1.0
            with suppress(LogUnreachable):  # the next batch meets it too
                self._lag = self.reader.behind()
        return self._lag

    def close(self) -> None:
        """Let the next writer in, and end the threads."""
        self._desk.close()
        self._publication.close()
        self._checkpoints.close()


def _told(pending: Written | None, champion: Champion) -> dict[str, Any]:
    """The newest anchor for the status; a champion that began elsewhere was made at a time that is not known here."""
    if pending is not None:
        return {"version": pending.version, "digest": pending.digest, "at": pending.at, "trainedTo": pending.trained_to}
    trained_to = dict(champion.bundle.manifest.trained_to)
    return {"version": champion.version, "digest": champion.bundle.digest, "at": None, "trainedTo": trained_to}
