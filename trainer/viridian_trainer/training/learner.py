"""The state of a training and its two moves: take an entry, make a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import xxhash
from torch import Tensor
from torch.nn import functional

from viridian_model.contract import RankingModel
from viridian_model.features import FeatureBatch
from viridian_model.ids import hash_ids
from viridian_trainer.eventlog import Entry, Event, Offset
from viridian_trainer.eventlog.dedup import RecentIds, Watermark
from viridian_trainer.eventlog.ledger import TrainedEntries
from viridian_trainer.gang.group import ALONE, Group
from viridian_trainer.spec import TrainerConfig
from viridian_trainer.training import randomness
from viridian_trainer.training.optimizer import GrowingAdagrad
from viridian_trainer.training.popularity import ItemCounts
from viridian_trainer.training.predictions import Predictions
from viridian_trainer.training.replay import Sample, encode
from viridian_trainer.training.vocabulary import Vocabulary

GOLDEN_ROWS = 8
_RECENT, _NEWEST = "events/recent-ids", "events/newest-time"


@dataclass
class Counts:
    """Entries by what became of them; ``late`` ones were trained on, ``loss`` is their summed progressive
    log loss.
    """

    trained: int = 0
    duplicates: int = 0
    late: int = 0
    rejected: int = 0
    replayed: int = 0
    steps: int = 0
    loss: float = 0.0


class Learner:
    """Model, optimizer, event bookkeeping and reader positions: all that a checkpoint holds."""

    def __init__(
        self,
        model: RankingModel,
        config: TrainerConfig,
        offsets: Mapping[str, Offset],
        lateness: float,
        group: Group = ALONE,
    ) -> None:
        self.model = model
        self.config = config
        self.group = group
        self.offsets = dict(offsets)
        self.optimizer = self._new_optimizer()
        self.vocabulary = self._new_vocabulary()
        self.recent = RecentIds()
        self.watermark = Watermark(lateness=lateness)
        self.popularity = ItemCounts()
        self.counts = Counts()
        self.ledger = TrainedEntries()
        self.golden: deque[dict[str, Any]] = deque(maxlen=GOLDEN_ROWS)
        self.predictions: Predictions | None = None
        self._pending: list[Event] = []

    def _new_optimizer(self) -> GrowingAdagrad:
        return GrowingAdagrad(self.model, self.config.learning_rate, self.config.initial_accumulator)

    def _new_vocabulary(self) -> Vocabulary:
        return Vocabulary(self.model, self.optimizer, self.config.admission, self.config.eviction)

    @property
    def batch_is_full(self) -> bool:
        """Whether a step is due."""
        return len(self._pending) >= self.config.batch_size

    @property
    def logloss(self) -> float:
        """Mean progressive log loss: every event is predicted before it is trained on (Blum et al., COLT
        1999).
        """
        return self.counts.loss / max(self.counts.trained, 1)

    def take(self, entry: Entry) -> bool:
        """Move behind ``entry``; its event joins the batch unless it is unreadable or was seen before: then false."""
        self.offsets[entry.partition] = entry.offset_after
        if entry.event is None:
            self.counts.rejected += 1
        elif not self.recent.add(entry.event.id):
            self.counts.duplicates += 1
        else:
            self.counts.late += self.watermark.is_late(entry.event.time)
            self._pending.append(entry.event)
            self.ledger.add(entry)
            return True
        return False

    def begin_slice(self) -> None:
        """From here on every batch is predicted before it is trained on, and the predictions are kept.

        Unknown ids are answered as they will be by the exported model (see `viridian_model.bundle.finish`);
        their row is brought up to date once, since that reads whole tables.

        Raises
        ------
        RuntimeError
            In the middle of a batch.
        """
        if self._pending:
            raise RuntimeError("the slice must begin between two batches")
        for table in self.model.embedding_tables().values():
            table.refresh_oov()
        self.predictions = Predictions(self.recent.array())

    def step(self, replay: Sample, ratio: float) -> None:
        """Train once on the pending events and their share of replayed ones; nothing happens without events.

        The loss is the mean over the batch times (new events / batch size): a short last batch makes a
        short step. Each rank computes its rows of the batch; the sums over ranks are the mean and its gradient.
        """
        if not self._pending:
            return
        events, self._pending = self._pending, []
        features, labels = encode(events, self.model.schema)
        if self.predictions is not None:
            self.predictions.add(hash_ids(event.id for event in events), self._predict(features))
        self.popularity.add(hash_ids(event.item for event in events), labels)
        self.counts.trained += len(events)
        replayed = min(int(self.counts.trained * ratio), len(replay))
        part = slice(self.counts.replayed, replayed)
        both, all_labels = _joined(features, labels, replay, part)
        times = torch.tensor([event.time for event in events], dtype=torch.float64)
        self.vocabulary.meet(both, torch.cat([times, replay.times[part]]), len(events))
        own = self._own_losses(both, all_labels)
        torch.autograd.backward(own.sum() / len(both) * (len(events) / self.config.batch_size))
        self.group.add_gradients(self.model.parameters())
        self.optimizer.step()
        losses = self.group.joined(own.detach(), len(both))
        self.counts.loss += float(losses[: len(events)].double().sum())
        self.counts.replayed, self.counts.steps = replayed, self.counts.steps + 1
        self.golden.extend(dict(event.features) for event in events[-GOLDEN_ROWS:])

    def end(self) -> None:
        """Close a training: unused ids lose their rows, and what was counted of items without one is forgotten."""
        self.vocabulary.evict()
        items = self.model.embedding_tables().get(self.model.schema.item)
        if items is not None and self.config.eviction.is_wanted:
            self.popularity.keep(items.ids)

    def _predict(self, batch: FeatureBatch) -> Tensor:
        """Logits as a server would give them with the present weights, float64 ``[n]``."""
        self.model.eval()
        with torch.inference_mode():
            logits = self.model(batch.take(self.group.part(len(batch)))).double().cpu()
        self.model.train()
        return self.group.joined(logits.clone(), len(batch))

    def _own_losses(self, batch: FeatureBatch, labels: Tensor) -> Tensor:
        """Losses of this rank's rows; the tables have grown by the ids of all rows."""
        part = self.group.part(len(batch))
        with self.group.drawing(len(batch)):
            logits = self.model(batch.take(part))
        return functional.binary_cross_entropy_with_logits(logits, labels[part].to(logits.device), reduction="none")

    def fingerprint(self) -> int:
        """A number (int64) over the bits of all weights."""
        digest = xxhash.xxh3_64()
        for value in self.model.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy())
        return digest.intdigest() - (1 << 63)

    def kept(self) -> dict[str, Tensor]:
        """Tensors for ``optimizer.safetensors``: optimizer state, use of rows, recent event ids, newest time,
        counts per item.
        """
        return {
            **self.optimizer.state(),
            **self.vocabulary.state(),
            **self.popularity.state(),
            _RECENT: torch.from_numpy(self.recent.array()),
            _NEWEST: torch.tensor([self.watermark.newest], dtype=torch.float64),
        }

    def load_kept(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from the `kept` tensors of a parent or checkpoint.

        Raises
        ------
        BadData
            If they do not fit the model.
        """
        self.optimizer.load(tensors)
        self.popularity = ItemCounts.load(tensors)
        self.recent = recent_ids(tensors)
        if _NEWEST in tensors:
            self.watermark.newest = float(tensors[_NEWEST])
        self.vocabulary.load(tensors, self.watermark.newest)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything as tensors and JSON, for a checkpoint at the border of a batch."""
        tensors = self.kept() | {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= randomness.capture()
        tensors |= self.predictions.state() if self.predictions is not None else {}
        meta = {"offsets": self.offsets, "counts": asdict(self.counts), "golden": list(self.golden)}
        return tensors, {**meta, "ledger": self.ledger.hexdigest}

    def load_state(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, in exactly the state that `state` gave."""
        own = {name.removeprefix("model/"): value for name, value in tensors.items() if name.startswith("model/")}
        self.model.load_state_dict(own)
        self.optimizer = self._new_optimizer()  # loading replaces the parameters of tables
        self.vocabulary = self._new_vocabulary()
        self.load_kept(tensors)
        randomness.restore(tensors)
        self.predictions = Predictions.load(tensors)
        self.offsets = dict(meta["offsets"])
        self.counts = Counts(**{field.name: meta["counts"][field.name] for field in fields(Counts)})
        self.ledger = TrainedEntries(meta["ledger"])
        self.golden = deque(meta["golden"], maxlen=GOLDEN_ROWS)


def recent_ids(tensors: Mapping[str, Tensor]) -> RecentIds:
    """The event ids that a bundle or checkpoint remembers."""
    return RecentIds(tensors[_RECENT].tolist()) if _RECENT in tensors else RecentIds()


def _joined(features: FeatureBatch, labels: Tensor, replay: Sample, part: slice) -> tuple[FeatureBatch, Tensor]:
    """New events followed by the replayed ones at ``part``."""
    if replay.features is None or part.start >= part.stop:
        return features, labels
    past = replay.features.take(part)
    categorical = {name: torch.cat([values, past.categorical[name]]) for name, values in features.categorical.items()}
    numeric = {name: torch.cat([values, past.numeric[name]]) for name, values in features.numeric.items()}
    return FeatureBatch(categorical, numeric, len(features) + len(past)), torch.cat([labels, replay.labels[part]])
