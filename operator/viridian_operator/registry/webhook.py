"""Webhooks of MLflow's model registry, verified: who sent them, when, and whether they came before.

Headers and signature as in ``mlflow/webhooks/delivery.py`` (MLflow 3), which follows the Standard Webhooks
specification: base64 of HMAC-SHA256 over ``<delivery id>.<timestamp>.<body>``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

SIGNATURE, TIMESTAMP, DELIVERY = "X-MLflow-Signature", "X-MLflow-Timestamp", "X-MLflow-Delivery-Id"
SCHEME = "v1"
#: Seconds between the clock of MLflow and ours, retries of a delivery included.
TOLERANCE = 300
#: Deliveries that are remembered, all of them no older than ``TOLERANCE`` on both sides.
REMEMBERED = 10_000


class Refused(Exception):
    """The request is not believed."""


class Malformed(Exception):
    """The request is MLflow's, and says nothing that is understood."""


class Deliveries:
    """Tells whether a request is a new, fresh delivery by who knows the secret.

    Parameters
    ----------
    secret
        Reads the secret, for every request anew, so that a rotated one counts at once.
    """

    def __init__(self, secret: Callable[[], bytes], *, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._clock = secret, clock
        self._seen: OrderedDict[str, float] = OrderedDict()

    def check(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether this delivery is new; one that came before is a retry, or a replay, and changes nothing.

        Raises
        ------
        Refused
            If the signature is wrong or missing, or the time is too far from ours.
        """
        delivery, sent = headers.get(DELIVERY, ""), headers.get(TIMESTAMP, "")
        if not _signed(self._secret(), headers.get(SIGNATURE, ""), f"{delivery}.{sent}.".encode() + body):
            raise Refused("the signature is missing or wrong")
        now = self._clock()
        if not sent.isascii() or not sent.isdigit() or abs(now - int(sent)) > TOLERANCE:
            raise Refused(f"the time of the delivery is more than {TOLERANCE} s from ours")
        return self._remember(delivery, now)

    def _remember(self, delivery: str, now: float) -> bool:
        while self._seen and (len(self._seen) >= REMEMBERED or next(iter(self._seen.values())) < now - 2 * TOLERANCE):
            self._seen.popitem(last=False)
        if delivery in self._seen:
            return False
        self._seen[delivery] = now
        return True


def _signed(secret: bytes, signature: str, content: bytes) -> bool:
    scheme, _, text = signature.partition(",")
    try:
        given = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    wanted = hmac.new(secret, content, hashlib.sha256).digest()
    return bool(secret) and scheme == SCHEME and hmac.compare_digest(given, wanted)


def model_of(body: bytes) -> str:
    """The registered model that an event is about; "" for an event about something else.

    Raises
    ------
    Malformed
        If it is no event of MLflow.
    """
    try:
        event = json.loads(body)
        entity, data = str(event["entity"]), event["data"]
        return str(data["name"]) if entity == "registered_model" or entity.startswith("model_version") else ""
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed("the body is no event of MLflow's registry") from error
