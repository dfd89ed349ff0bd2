"""Whether a delivery is believed: signature, age, repetition."""

from __future__ import annotations

import json

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from viridian_operator.registry import webhook
from viridian_operator.registry.webhook import DELIVERY, SIGNATURE, TIMESTAMP, Deliveries, Malformed, Refused, model_of

SECRET, NOW = "s3cret", 1_800_000_000
BODY = json.dumps({"entity": "model_version_alias", "action": "created", "data": {"name": "ctr", "alias": "a"}})


def signed(body: str = BODY, *, secret: str = SECRET, delivery: str = "d1", sent: str = str(NOW)) -> dict[str, str]:
    """Headers as MLflow itself makes them."""
    return {
        DELIVERY: delivery,
        TIMESTAMP: sent,
        SIGNATURE: _generate_hmac_signature(secret, delivery, sent, body),
    }


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries(SECRET.encode, clock=lambda: float(NOW))


def test_what_mlflow_signed_is_believed_once(deliveries: Deliveries) -> None:
    assert deliveries.check(signed(), BODY.encode())
    assert not deliveries.check(signed(), BODY.encode()), "a retry, or a replay"
    assert deliveries.check(signed(delivery="d2"), BODY.encode())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed() | {SIGNATURE: ""},
        signed() | {SIGNATURE: "v1,bm90IGl0"},
        signed() | {SIGNATURE: "v1,no base64!"},
        signed() | {SIGNATURE: signed()[SIGNATURE].replace("v1,", "v2,")},
        signed() | {DELIVERY: "d2"},
        signed() | {TIMESTAMP: str(NOW + 1)},
        signed(secret="another"),
        signed(BODY + " "),
        signed(sent=str(NOW - webhook.TOLERANCE - 1)),
        signed(sent=str(NOW + webhook.TOLERANCE + 1)),
        signed(sent="yesterday"),
        signed(sent=""),
    ],
)
def test_everything_else_is_refused_and_not_remembered(deliveries: Deliveries, headers: dict[str, str]) -> None:
    with pytest.raises(Refused):
        deliveries.check(headers, BODY.encode())
    assert deliveries.check(signed(), BODY.encode())


def test_nothing_is_believed_without_a_secret() -> None:
    with pytest.raises(Refused):
        Deliveries(lambda: b"").check(signed(secret=""), BODY.encode())


def test_a_rotated_secret_counts_at_once() -> None:
    now = [SECRET]
    deliveries = Deliveries(lambda: now[0].encode(), clock=lambda: float(NOW))
    now[0] = "next"
    with pytest.raises(Refused):
        deliveries.check(signed(), BODY.encode())
    assert deliveries.check(signed(secret="next"), BODY.encode())


def test_memory_is_bounded_and_outlasts_the_age_of_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "REMEMBERED", 3)
    clock = [float(NOW)]
    deliveries = Deliveries(SECRET.encode, clock=lambda: clock[0])
    for number in range(5):
        assert deliveries.check(signed(delivery=str(number)), BODY.encode())
    assert len(deliveries._seen) == 3
    clock[0] += webhook.TOLERANCE
    assert not deliveries.check(signed(delivery="4"), BODY.encode())


@pytest.mark.parametrize(
    ("entity", "model"),
    [
        ("registered_model", "ctr"),
        ("model_version", "ctr"),
        ("model_version_tag", "ctr"),
        ("model_version_alias", "ctr"),
        ("prompt", ""),
        ("budget_policy", ""),
    ],
)
def test_which_model_an_event_is_about(entity: str, model: str) -> None:
    assert model_of(json.dumps({"entity": entity, "action": "created", "data": {"name": "ctr"}}).encode()) == model


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"entity": "model_version"}', b"\xff"])
def test_what_is_no_event_is_said(body: bytes) -> None:
    with pytest.raises(Malformed):
        model_of(body)
