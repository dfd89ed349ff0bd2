"""Between updates: whether one should start."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.spec import Strategy
from viridian_operator.api.status import Trigger
from viridian_operator.decide.anchoring import judge_anchor
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.drifting import note_drift
from viridian_operator.decide.due import due, plan
from viridian_operator.decide.following import follow
from viridian_operator.decide.hashing import follows_chain, inputs_hash, revision_hash, template_hash
from viridian_operator.decide.starting import start_pin, start_redeploy, start_training, to_redeploy
from viridian_operator.decide.tags import VERDICT


def idle(d: Draft) -> None:
    """Start what is due; otherwise say when to look again."""
    if d.seen.deleting or d.status.recovering:
        return
    _forget_pin(d)
    if d.spec.pin is not None:
        _pinned(d)
    elif _redeploy_due(d):
        kind = Reason.CHAIN_NEEDED if _chainless(d) else Reason.TEMPLATE_CHANGED
        start_redeploy(d, Trigger(kind=kind, at=d.now))
    elif d.spec.suspend:
        return
    elif d.spec.strategy is Strategy.REGISTRY:
        follow(d)
    elif d.spec.strategy is Strategy.ONLINE:
        _train_or_judge(d)
    else:
        _train_if_due(d)


def _forget_pin(d: Draft) -> None:
    """That a pin was tried says something about a later one only while it is set and in vain."""
    pin, active = d.spec.pin, d.status.active
    if "pin" in d.status.seen and (pin is None or (active and active.version == str(pin.version))):
        d.put(seen={key: value for key, value in d.status.seen.items() if key != "pin"})


def _pinned(d: Draft) -> None:
    pin, active = d.spec.pin, d.status.active
    if pin is None or (active and active.version == str(pin.version)):
        return
    if d.status.seen.get("pin") == str(pin.version):
        d.stalled = (
            Reason.PIN_FAILED,
            f"version {pin.version} could not be rolled out; change the pin or request retry/…",
        )
        return
    registry = d.seen.registry
    if registry.lacks(f"version:{pin.version}"):
        d.stalled = (Reason.PIN_FAILED, f"the registry has no version {pin.version} of {d.spec.model.name}")
    elif registry.version is None or registry.version.version != str(pin.version):
        d.ask_again()
    elif not registry.version.digest:
        d.stalled = (
            Reason.PIN_FAILED,
            f"version {pin.version} carries no tag viridian.digest, so it cannot be proven",
        )
    else:
        d.put(seen={**d.status.seen, "pin": str(pin.version)})
        start_pin(d, Trigger(kind=Reason.PINNED, detail=pin.reason, at=d.now), registry.version)


def _redeploy_due(d: Draft) -> bool:
    active, template, wanted = d.status.active, template_hash(d.spec), to_redeploy(d.spec, d.status)
    if active is None or wanted is None:
        return False
    if d.status.failed_revision == revision_hash(wanted.version, wanted.digest, template):
        d.stalled = (Reason.REVISION_FAILED, "the new serving template failed; change it or request retry/…")
        return False
    if _chainless(d):
        return True
    if template == active.template_hash:
        # also after a failed one was taken back: what is wanted serves already
        d.put(seen={**d.status.seen, "template": template})
    return d.status.seen.get("template", template) != template


def _chainless(d: Draft) -> bool:
    """Pods that should follow a chain and do not, as after a pin or with a strategy that was another one."""
    active, champion = d.status.active, d.status.champion
    return follows_chain(d.spec) and active is not None and champion is not None and not active.chain


def _train_or_judge(d: Draft) -> None:
    """A full training waits until the trainer was told the last verdict, for it may take long."""
    if not any(tag.key == VERDICT for tag in d.status.owed_tags):
        _train_if_due(d)
    if not d.running:
        judge_anchor(d)


def _train_if_due(d: Draft) -> None:
    trigger = due(d)
    if trigger is None:
        return
    note_drift(d)
    d.put(seen={**d.status.seen, "inputs": inputs_hash(d.spec)})
    plan(d)
    start_training(d, trigger, full=trigger.detail == "full")
