"""A small world for decisions: a cluster, a registry and an event log that do what real ones do,
including late, failing and lying parts. Every effect is checked against the invariants at once."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from viridian_operator.api.serves import Serves
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import CheckResult, ModelUpdateStatus, Phase, Revision, Window
from viridian_operator.decide import decision as act
from viridian_operator.decide import step
from viridian_operator.decide.checking import checks_of
from viridian_operator.decide.observation import (
    DeploymentView,
    DriftView,
    Identity,
    JobState,
    JobView,
    LogHeads,
    MonitorView,
    Observation,
    PodTrouble,
    PodView,
    RegisteredVersion,
    Registry,
    Resident,
    Role,
    ServiceView,
    Slot,
)
from viridian_operator.decide.window import shares

#: how long a pod takes to load a version beside the one it serves
LOADING = timedelta(seconds=5)
#: what ends a pod that loads such a version, instead of failing the load
_DEADLY = (PodTrouble.CRASH_LOOP, PodTrouble.OUT_OF_MEMORY)
#: what has nothing to do with the version itself
_OF_THE_POD = (
    PodTrouble.UNSCHEDULABLE,
    PodTrouble.VOLUME_UNBOUND,
    PodTrouble.IMAGE_PULL,
    PodTrouble.INVALID,
    PodTrouble.INFRASTRUCTURE,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
UID = "uid-1"


def spec(**changes: Any) -> ModelUpdateSpec:
    """A recommender with three replicas; ``changes`` replace whole top-level fields."""
    fields: dict[str, Any] = {
        "model": {"name": "ctr"},
        "registry": {"trackingURI": "http://mlflow:5000"},
        "strategy": "Incremental",
        "trigger": {"newEvents": 1000},
        "data": {"source": {"redisStream": {"url": "redis://redis:6379/0", "stream": "clicks", "partitions": 2}}},
        "training": {"template": {"spec": {"containers": [{"name": "trainer", "image": "trainer"}]}}},
        "serving": {
            "replicas": 3,
            "template": {"spec": {"containers": [{"name": "server", "image": "server"}]}},
        },
        "rollout": {"bake": {"duration": "30s", "interval": "10s", "failureLimit": 1}},
    }
    return ModelUpdateSpec.model_validate(fields | changes)


def following(**changes: Any) -> ModelUpdateSpec:
    """A recommender that is trained elsewhere, judged here on 500 events."""
    pod = {"spec": {"containers": [{"name": "evaluator", "image": "trainer"}]}}
    fields: dict[str, Any] = {
        "strategy": "Registry",
        "follow": {"alias": "challenger"},
        "trigger": {},
        "training": None,
        "evaluation": {"template": pod},
        "gate": {"minEvents": 500},
    }
    return spec(**(fields | changes))


def swapping(**rollout: Any) -> ModelUpdateSpec:
    """A recommender whose pods take versions."""
    quick = {"bake": {"duration": "30s", "interval": "10s", "failureLimit": 1}, "capacity": "HotSwap"}
    return spec(rollout=quick | rollout)


@dataclass
class SimDeployment:
    """A Deployment of one revision."""

    revision: Revision
    replicas: int
    created: datetime


@dataclass
class SimPod:
    """A serving pod; ``born`` decides when it is ready."""

    revision: str
    version: str
    digest: str
    born: datetime
    ready: bool = False
    broken: PodTrouble | None = None
    lost: bool = False
    restarts: int = 0
    retired: bool = False
    lies: bool = False
    #: version and digest in its memory besides those it serves
    previous: tuple[str, str] | None = None
    staged: tuple[str, str] | None = None
    staged_at: datetime = START
    staging_fails: PodTrouble | None = None


@dataclass
class SimRecord:
    """The ConfigMap that says which version the pods of a Deployment serve when they start."""

    version: str
    digest: str
    graph: str
    #: version and digest that the operator itself wrote last
    written: tuple[str, str]
    golden: frozenset[str]

    @property
    def recorded(self) -> str:
        """Digest that the operator itself wrote last."""
        return self.written[1]


@dataclass
class World:
    """Everything outside the decisions."""

    spec: ModelUpdateSpec = field(default_factory=spec)
    status: ModelUpdateStatus = field(default_factory=ModelUpdateStatus)
    now: datetime = START
    events: int = 2000
    trimmed: int = 0
    annotations: dict[str, str] = field(default_factory=dict)
    deployments: dict[str, SimDeployment] = field(default_factory=dict)
    pods: dict[str, SimPod] = field(default_factory=dict)
    records: dict[str, SimRecord] = field(default_factory=dict)
    #: whether the serving image knows hot swaps
    knows_swaps: bool = True
    #: graphs of versions that do not have the usual one
    graphs: dict[str, str] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    #: what the operator itself made each Service select last; anything else is somebody else's edit
    recorded: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, JobView] = field(default_factory=dict)
    versions: dict[str, RegisteredVersion] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    registry_up: bool = True
    #: whether pods of Jobs find a node
    capacity: bool = True
    #: how many entries before the end of a partition a prequential training begins to predict
    predicts: int = 300
    #: what happens to the next candidates, by version number
    verdicts: dict[str, str] = field(default_factory=dict)
    #: trouble that pods of a version have from their start
    stillborn: dict[str, PodTrouble] = field(default_factory=dict)
    #: versions whose pods the cluster refuses to make, and why
    refused: dict[str, str] = field(default_factory=dict)
    #: versions whose pods report another digest; the first pod tells the truth if the value says so
    liars: dict[str, bool] = field(default_factory=dict)
    #: versions whose health checks fail
    unhealthy: set[str] = field(default_factory=set)
    #: how often the training Job of an update fails before it succeeds, and how
    job_failures: dict[int, list[JobView]] = field(default_factory=dict)
    #: the last actions, for assertions
    log: list[act.Action] = field(default_factory=list)
    notes: list[act.Note] = field(default_factory=list)
    switches: list[tuple[str | None, str]] = field(default_factory=list)
    jobs_created: list[str] = field(default_factory=list)
    #: Jobs that the operator has seen, and written so
    jobs_seen: set[str] = field(default_factory=set)
    #: version that each evaluation Job was made for
    judged: dict[str, str] = field(default_factory=dict)
    #: the operator's leave to train
    slot: Slot = field(default_factory=Slot)
    taken: tuple[str, ...] = ()
    #: how old the newest event of a training is when that trains, if it says so
    event_age: timedelta | None = None
    #: what the drift monitor says, and its Deployment
    drift: DriftView = field(default_factory=DriftView)
    monitor: MonitorView | None = None
    #: status goes through its JSON form when it is written; the explorer does without, as it costs most of a pass
    wire: bool = True

    _COPIED: ClassVar = (
        *("annotations", "services", "recorded", "jobs", "versions", "aliases", "verdicts", "stillborn", "liars"),
        *("unhealthy", "refused", "job_failures", "log", "notes", "switches", "jobs_created", "jobs_seen"),
        *("judged", "graphs"),
    )

    # -- observation -------------------------------------------------------------------------

    def observe(self) -> Observation:
        """The live picture, as complete as the phase needs."""
        return Observation(
            name="ctr",
            namespace="recsys",
            uid=UID,
            generation=1,
            annotations=dict(self.annotations),
            deployments=tuple(self._deployment(d) for d in self.deployments.values()),
            pods=tuple(self._pod(name, p) for name, p in self.pods.items()),
            active_service=self._service("ctr"),
            preview_service=self._service("ctr-preview"),
            taken=self.taken,
            jobs=tuple(self.jobs.values()),
            heads=self.heads(),
            drift=self.drift,
            monitor=self.monitor,
            registry=self._registry(),
            checks=self._checks(),
            slot=self.slot,
        )

    def heads(self) -> LogHeads:
        """Two partitions with half of the events each."""
        half = self.events // 2
        gone = self.trimmed // 2
        found = LogHeads(
            offsets={"0": f"{half}@1-{half}", "1": f"{self.events - half}@1-{half}"},
            total=self.events,
            earliest={"0": f"{gone}@0-0", "1": f"{gone}@0-0"},
            removed={"0": gone, "1": gone},
        )
        counts = shares(found, self.spec.data.max_events if self.spec.data else None)
        return replace(found, newest={p: self._before(found.offsets[p], count) for p, count in counts.items()})

    def _deployment(self, d: SimDeployment) -> DeploymentView:
        r = d.revision
        view = DeploymentView(
            name=r.deployment,
            revision=r.hash,
            version=r.version,
            digest=r.digest,
            colour=r.colour,
            template_hash=r.template_hash,
            replicas=d.replicas,
            created=d.created,
            failure=self.refused.get(r.version, ""),
        )
        if not r.swappable:
            return view
        record = self.records.get(r.hash)
        if record is None:
            return replace(view, swappable=True)
        golden = dict.fromkeys(record.golden, "{}")
        serves = Serves(*record.written, graph=record.graph, starting=record.digest, golden=golden)
        return replace(view, swappable=True, serves=serves, version=serves.version, digest=serves.digest)

    def _pod(self, name: str, p: SimPod) -> PodView:
        alive = not p.lost and p.broken is None
        identity = None
        if alive:
            digest = "sha256:other" if p.lies else p.digest
            residents = self._residents(p) if self.knows_swaps else None
            identity = Identity(p.version, digest, ready=p.ready, retired=p.retired, residents=residents)
        return PodView(
            name=name,
            revision=p.revision,
            ip=name,
            ready=p.ready and alive,
            scheduled=p.broken is not PodTrouble.UNSCHEDULABLE,
            restarts=p.restarts,
            trouble=PodTrouble.INFRASTRUCTURE if p.lost else p.broken,
            identity=identity,
            golden="" if alive else None,
        )

    def _residents(self, p: SimPod) -> tuple[Resident, ...]:
        found = [Resident(Role.CURRENT, p.version, p.digest, ready=p.ready)]
        if p.previous:
            found.append(Resident(Role.PREVIOUS, *p.previous, ready=True))
        if p.staged:
            bad = p.staging_fails
            ready = bad is None and self.now - p.staged_at >= LOADING
            found.append(Resident(Role.STAGED, *p.staged, ready=ready, failed=bad is not None, trouble=bad))
        return tuple(found)

    def _service(self, name: str) -> ServiceView | None:
        if name not in self.services:
            return None
        revision = self.services[name]
        serving = self._serving(revision)
        return ServiceView(
            name=name,
            owned=True,
            revision=revision,
            recorded=self.recorded.get(name),
            endpoints=tuple(p.revision for p in serving),
            answered=tuple({p.digest for p in serving}),
        )

    def _registry(self) -> Registry:
        if not self.registry_up:
            return Registry(error="connection refused")
        asked = self._asked()
        kind, _, wanted = asked.partition(":")
        if kind == "update":
            version = next((v for v in self.versions.values() if v.update == wanted), None)
        else:
            version = self.versions.get(wanted)
        tags = [v.update.removeprefix(f"{UID}/") for v in self.versions.values()]
        numbers = [int(tag) for tag in tags if tag.isdecimal()]
        followed = self._followed()
        return Registry(
            asked=asked,
            version=version,
            missing=version is None and bool(asked),
            aliases=dict(self.aliases),
            followed=followed,
            unfollowed=followed is None and self.spec.follow is not None,
            everything=tuple(self.versions.values()),
            last_number=max(numbers, default=0) if self.status.recovering else None,
        )

    def _followed(self) -> RegisteredVersion | None:
        follow = self.spec.follow
        if follow is None:
            return None
        return self.versions.get(self.aliases.get(follow.alias, "") if follow.alias else str(follow.version))

    def publish(self, **fields: Any) -> str:
        """Somebody else registers a version and lets the alias name it."""
        number = str(len(self.versions) + 1)
        self.versions[number] = RegisteredVersion(version=number, digest=f"sha256:{number}", **fields)
        self.aliases["challenger"] = number
        return number

    def _asked(self) -> str:
        update = self.status.update
        if self.status.recovering:
            return f"version:{self.status.recovering}"
        if self.status.owed_tags and not (update and update.running):
            return f"version:{self.status.owed_tags[0].version}"
        if self.spec.pin and not (update and update.running):
            return f"version:{self.spec.pin.version}"
        if update and update.candidate:
            return f"version:{update.candidate.version}"
        return f"update:{UID}/{update.number}" if update else ""

    def _checks(self) -> tuple[CheckResult, ...] | None:
        update = self.status.update
        if update is None or update.phase is not Phase.BAKING or update.bake is None or self.status.active is None:
            return None
        last = update.bake.checked_at or update.bake.started_at
        if self.now < last + self.spec.rollout.bake.interval:
            return None
        bad = self.status.active.version in self.unhealthy
        outcome = "Failed" if bad else "Passed"
        checks = checks_of(self.spec.rollout)
        return tuple(CheckResult(name=each.name, outcome=outcome, value=float(bad)) for each in checks)

    # -- time --------------------------------------------------------------------------------

    def tick(self, seconds: float) -> None:
        """Let the cluster do its part."""
        self.now += timedelta(seconds=seconds)
        for deployment in list(self.deployments.values()):
            self._controller(deployment)
        for pod in self.pods.values():
            if not pod.ready and pod.broken is None and not pod.lost and self.now - pod.born >= timedelta(seconds=3):
                pod.ready = True
        for name, job in list(self.jobs.items()):
            self.jobs[name] = self._job(job)

    def _controller(self, d: SimDeployment) -> None:
        mine = [name for name, p in self.pods.items() if p.revision == d.revision.hash]
        for name in mine[d.replicas :]:
            del self.pods[name]
        for index in range(len(mine), d.replicas if d.revision.version not in self.refused else 0):
            revision = d.revision
            told = self.records.get(revision.hash) if revision.swappable else revision
            if told is None:
                break  # without its ConfigMap no pod starts
            pod = SimPod(revision.hash, told.version, told.digest, born=self.now)
            pod.broken = self.stillborn.get(told.version)
            pod.lies = self._lies(told.version, index)
            pod.restarts = 5 if pod.broken in (PodTrouble.CRASH_LOOP, PodTrouble.OUT_OF_MEMORY) else 0
            self.pods[f"{revision.hash}-{index}-{len(self.pods)}-{self.now.timestamp()}"] = pod

    def _lies(self, version: str, index: int) -> bool:
        return version in self.liars and not (index == 0 and self.liars[version])

    def _job(self, job: JobView) -> JobView:
        if job.state is JobState.PENDING and self.capacity:
            return replace(job, state=JobState.RUNNING)
        if job.state is not JobState.RUNNING:
            return job
        failures = self.job_failures.get(job.number, [])
        if failures and job.task == "train":
            end = failures.pop(0)
            return replace(
                job,
                state=JobState.FAILED,
                exit_code=end.exit_code,
                result=end.result,
                trouble=end.trouble,
                disrupted=end.disrupted,
                disruption=end.disruption,
            )
        if job.task == "train" and self._lost(job):
            gone = {"task": "Train", "error": {"reason": "DataTrimmed", "message": "the log was trimmed"}}
            return replace(job, state=JobState.FAILED, exit_code=65, result=gone)
        result = self._train(job) if job.task == "train" else self._evaluate(job)
        return replace(job, state=JobState.COMPLETE, exit_code=0, result=result)

    def _lost(self, job: JobView) -> bool:
        """Whether something of the window is no longer in the log."""
        assert job.window
        removed = self.heads().removed
        return any(int(o.partition("@")[0]) < removed[p] for p, o in job.window.start.items())

    def _train(self, job: JobView) -> dict[str, Any]:
        tag = f"{UID}/{job.number}"
        found = next((v for v in self.versions.values() if v.update == tag), None)
        assert job.window
        split = {p: self._before(o, 100) for p, o in job.window.end.items()}
        if found is None:
            number = str(1 + max(map(int, self.versions), default=0))
            found = RegisteredVersion(
                version=number,
                digest=f"sha256:{number}",
                update=tag,
                parent=job.parent,
                window=job.window,
                trained_to=split,
                predicted_from=self._predicted_from(job.window),
                golden="{}",
                event_time=None if self.event_age is None else (self.now - self.event_age).timestamp(),
                graph=self.graphs.get(number, "g1"),
            )
            self.versions[number] = found
        holdout = Window(start=split, end=job.window.end)
        predicted = {"predictedFrom": found.predicted_from} if found.predicted_from else {}
        return {
            **predicted,
            "task": "Train",
            "runID": "r",
            "version": found.version,
            "digest": found.digest,
            "trainedTo": split,
            "eventTime": found.event_time,
            "holdout": holdout.wire(),
            "events": {"trained": 1},
        }

    def _predicted_from(self, window: Window) -> dict[str, str]:
        prequential = self.status.update is not None and self.status.update.split == "Prequential"
        return {p: self._before(o, self.predicts) for p, o in window.end.items()} if prequential else {}

    @staticmethod
    def _before(offset: str, count: int) -> str:
        number = int(offset.partition("@")[0]) - count
        return f"{max(number, 0)}@1-{number}"

    def _evaluate(self, job: JobView) -> dict[str, Any]:
        # the Job knows its candidate, also when status is lost meanwhile
        version = self.judged[job.name]
        verdict = self.verdicts.get(version, "Pass")
        report = {"experimentID": "7", "path": "gate/report.html"}
        told = {"runID": f"e{version}", "report": report, "message": f"verdict {verdict}"}
        return {"task": "Evaluate", "verdict": verdict, "reason": verdict, **told}

    # -- the loop ----------------------------------------------------------------------------

    def step(self, *, lose_status: bool = False, crash_after: int | None = None) -> act.Decision:
        """One pass; ``crash_after`` n actions the process dies, ``lose_status`` before it is written.

        Every look is judged by the invariants that the operator itself watches.
        """
        seen = self.observe()
        made = step.decide(self.spec, self.status, seen, self.now)
        assert not made.violated, f"{made.violated}: {made.status.message}"
        if lose_status:
            return made
        self.jobs_seen |= {job.name for job in seen.jobs}
        self.written(made.status)
        self.notes.extend(made.notes)
        for action in made.actions[:crash_after]:
            self.apply(action)
        return made

    def written(self, status: ModelUpdateStatus) -> None:
        """What is written is what is read back."""
        self.status = ModelUpdateStatus.model_validate(status.wire()) if self.wire else status

    def clone(self) -> World:
        """A world of its own: views, revisions and status are frozen and shared, all that changes is copied."""
        twin = copy(self)
        for name in self._COPIED:
            setattr(twin, name, copy(getattr(self, name)))
        twin.deployments = {name: copy(d) for name, d in self.deployments.items()}
        twin.pods = {name: copy(p) for name, p in self.pods.items()}
        twin.records = {name: copy(r) for name, r in self.records.items()}
        return twin

    def run(self, until: Callable[[World], bool], *, limit: int = 2000, seconds: float = 1.0) -> None:
        """Passes and time until a condition holds."""
        for _ in range(limit):
            if until(self):
                return
            self.step()
            self.tick(seconds)
        raise AssertionError(f"never came about: {self.status.phase} {self.status.message} {self.status.update}")

    def settle(self) -> None:
        """Until the update that is under way, or about to start, has ended."""
        self.step()
        self.tick(1)
        self.run(lambda w: w.status.update is not None and not w.status.update.running)
        for _ in range(3):
            self.step()
            self.tick(1)

    def request(self, text: str) -> None:
        """Annotate the ModelUpdate."""
        self.annotations["viridian.dev/request"] = text

    # -- effects -----------------------------------------------------------------------------

    def apply(self, action: act.Action) -> None:
        """Do it, and check that it was allowed."""
        self.log.append(action)
        match action:
            case act.EnsureRevision():
                self._ensure_revision(action)
            case act.EnsureService():
                self._ensure_service(action)
            case act.DeleteRevision():
                assert action.revision not in self.services.values(), "deleted a revision that a Service selects"
                self.deployments.pop(action.revision, None)
                self.records.pop(action.revision, None)
                self.pods = {n: p for n, p in self.pods.items() if p.revision != action.revision}
            case act.CreateJob():
                self._create_job(action)
            case act.DeleteJob():
                self.jobs.pop(action.name, None)
            case act.SetAliases():
                if self.registry_up:
                    self.aliases |= dict(action.wanted)
            case act.TagVersion(version=version, key=key, value=value):
                if self.registry_up:
                    old = self.versions[version]
                    self.versions[version] = replace(old, tags={**old.tags, key: value})
            case act.EnsureMonitor():
                self.monitor = self.monitor or MonitorView(available=False)
            case act.DeleteMonitor():
                self.monitor = None
            case act.DeleteVersion(version=version):
                self._delete_version(version)
            case act.Retire():
                for name in action.pods:
                    if name in self.pods:
                        self.pods[name].retired = action.retired
            case act.StageVersion():
                self._stage(action)
            case act.FlipPods():
                self._flip(action)
            case act.UnstagePods(pods=pods):
                for name in pods:
                    if name in self.pods:
                        self.pods[name].staged = None
            case _:
                pass

    def _delete_version(self, version: str) -> None:
        if self.registry_up:
            assert version not in {d.revision.version for d in self.deployments.values()}, "deleted what is deployed"
            assert version not in self.aliases.values(), "deleted what an alias names"
            del self.versions[version]

    def _ensure_revision(self, action: act.EnsureRevision) -> None:
        if action.revision.swappable:
            self._ensure_record(action)
        found = self.deployments.get(action.revision.hash)
        if found is None:
            self.deployments[action.revision.hash] = SimDeployment(action.revision, action.replicas, self.now)
            return
        serving = self.services.get("ctr") == self.recorded.get("ctr") == action.revision.hash
        if serving and action.replicas < found.replicas:
            replaced = self.status.update is not None and self.status.update.capacity == "Recreate"
            enough = replaced or action.replicas >= self.spec.serving.replicas
            assert enough, f"scaled down what serves to {action.replicas}"
        found.replicas = action.replicas
        found.revision = action.revision

    def _ensure_record(self, action: act.EnsureRevision) -> None:
        revision, old = action.revision, self.records.get(action.revision.hash)
        if old and old.recorded != revision.digest and self._forward(revision):
            self._check_gate()
        kept = (old.golden if old else frozenset()) | {action.golden_of}
        golden = frozenset({revision.digest, *(kept & set(action.standby))})
        written = (revision.version, revision.digest)
        self.records[revision.hash] = SimRecord(*written, revision.graph, written, golden)

    def _forward(self, revision: Revision) -> bool:
        """Whether ``revision`` is what a hot swap under way leads to."""
        update = self.status.update
        swaps = update is not None and update.running and update.hot_swap and update.green is not None
        return swaps and update.phase is not Phase.ROLLING_BACK and update.green.digest == revision.digest  # type: ignore[union-attr]

    def _stage(self, action: act.StageVersion) -> None:
        revision = action.revision
        for pod in (self.pods[name] for name in action.pods if name in self.pods):
            if pod.staged and pod.staged[1] != revision.digest:
                continue  # answered with 409
            bad = self.stillborn.get(revision.version)
            if bad in _DEADLY:
                pod.broken, pod.restarts = bad, pod.restarts + 1
            elif pod.staged is None or pod.staging_fails:
                pod.staged, pod.staged_at = (revision.version, revision.digest), self.now
                pod.staging_fails = None if bad in _OF_THE_POD else bad

    def _flip(self, action: act.FlipPods) -> None:
        revision = action.revision
        ready = self._serving(revision.hash)
        if self._forward(revision) and self.status.phase is Phase.SWITCHING:
            update = self.status.update
            assert update and update.intent, "flipped without an intent in status"
            record = self.records.get(revision.hash)
            assert record and record.recorded == revision.digest, "flipped before the ConfigMap said so"
            assert all(self._holds(p, revision.digest) for p in ready), "flipped before every pod held the version"
            self._check_gate()
        for index, name in enumerate(action.pods):
            pod = self.pods.get(name)
            if pod is None or pod.digest == revision.digest or not self._holds(pod, revision.digest):
                continue  # answered with 409
            pod.previous, pod.staged = (pod.version, pod.digest), None
            pod.version, pod.digest = revision.version, revision.digest
            pod.lies = self._lies(revision.version, index)

    def _holds(self, pod: SimPod, digest: str) -> bool:
        return any(each.digest == digest and each.ready for each in self._residents(pod))

    def _check_gate(self) -> None:
        update = self.status.update
        if update is not None and update.window is not None:
            passed = update.evaluation and (update.evaluation.verdict == "Pass" or update.evaluation.overridden_by)
            assert passed, "switched without a Pass of the gate"

    def _ensure_service(self, action: act.EnsureService) -> None:
        old = self.services.get(action.name)
        if action.name == "ctr" and old != action.revision:
            self._check_switch(old, action.revision)
            self.switches.append((old, action.revision))
        self.services[action.name] = self.recorded[action.name] = action.revision

    def _serving(self, revision: str) -> list[SimPod]:
        return [p for p in self.pods.values() if p.revision == revision and p.ready and not p.lost and not p.broken]

    def _check_switch(self, old: str | None, new: str) -> None:
        if self.recorded.get("ctr") == new:
            return  # an edit or deletion by somebody else is undone
        ready = self._serving(new)
        if old is not None and any(p.ready and not p.lost and not p.broken for p in self.pods.values()):
            assert ready, "switched to a revision without a ready endpoint"
        known = {each.hash for each in (self.status.active, self.status.previous) if each}
        edited = old is not None and old != self.recorded.get("ctr") and self.recorded.get("ctr") in known
        assert ready or not edited, "an edit was undone towards something else, which has no ready endpoint either"
        update = self.status.update
        restored = old is not None and old not in self.deployments
        if update is None or update.green is None or update.green.hash != new or restored:
            return
        if update.phase is Phase.ROLLING_BACK:
            return
        active, previous = self.status.active, self.status.previous
        if previous and new == previous.hash and active and not self._serving(active.hash):
            return  # it stands in for what serves, also while an update goes back to it
        if not update.running:
            assert active and new == active.hash, "the selector was restored to something else than what serves"
            return
        assert update.intent is not None or update.phase is Phase.BAKING, "switched without an intent in status"
        assert len(ready) >= (update.replicas or 1), "switched before all replicas were ready"
        assert not any(p.lies for p in ready), "switched to pods that serve something else"
        self._check_gate()

    def _create_job(self, action: act.CreateJob) -> None:
        name = f"{action.task}-{action.update.number}-{action.update.attempts.number}"
        if name in self.jobs:
            return
        assert name not in self.jobs_seen, f"{name} was created again"
        if action.task == "train" and action.parent:
            self._check_nothing_lost(action.window.start, self.versions[action.parent.version].trained_to)
        self.jobs_created.append(name)
        if action.candidate:
            self.judged[name] = action.candidate.version
        self.jobs[name] = JobView(
            name=name,
            task=action.task,
            number=action.update.number,
            attempt=action.update.attempts.number,
            state=JobState.PENDING,
            window=action.window,
            parent=action.parent.digest if action.parent else "",
        )

    def _check_nothing_lost(self, begin: dict[str, str], parent: dict[str, str]) -> None:
        """Every event between the parent and the window is in a gap that a person recorded, and none is before."""
        for partition, offset in parent.items():
            number = int(offset.partition("@")[0])
            for gap in self.status.gaps:
                if partition in gap.start and int(gap.start[partition].partition("@")[0]) == number:
                    number = int(gap.end[partition].partition("@")[0])
            found = int(begin[partition].partition("@")[0])
            assert found == number, f"partition {partition} begins at {found}, not at {number}"

    # -- what callers see --------------------------------------------------------------------

    @property
    def serving_versions(self) -> set[str]:
        """Versions behind ready endpoints of the active Service."""
        revision = self.services.get("ctr")
        return {
            p.version
            for p in self.pods.values()
            if p.revision == revision and p.ready and not p.lost and p.broken is None
        }

    def pods_of(self, version: str) -> list[SimPod]:
        """Pods of a version."""
        return [p for p in self.pods.values() if p.version == version]
