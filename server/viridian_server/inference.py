"""One inference request from bytes to bytes; pure computation, runs in a thread."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viridian_server.snapshot import Snapshot


class BadRequest(Exception):
    """The client has to send something else; the text says what."""


def answer(snapshot: Snapshot, body: bytes, delay: float = 0.0) -> bytes:
    """Answer an Open Inference request.

    The body names version and digest as well, so that a client can hold it against the headers.

    Raises:
        BadRequest: the request does not keep the protocol or does not fit the model.
        ValueError: the model gave an answer that is no number.
    """
    from viridian_model.errors import InputError
    from viridian_model.inference import infer

    request = _parse(body)
    try:
        outputs = infer(snapshot.model, request.get("inputs"))
    except InputError as error:
        raise BadRequest(str(error)) from None
    response = {
        "model_name": snapshot.name,
        "model_version": snapshot.version,
        "parameters": {"digest": snapshot.digest},
        "outputs": _selected(outputs, request.get("outputs")),
    }
    if "id" in request:
        response["id"] = request["id"]
    if delay:
        time.sleep(delay)
    return json.dumps(response, allow_nan=False).encode()


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f'the body is not JSON ({error}); send {{"inputs": [...]}}') from None
    if not isinstance(request, dict):
        raise BadRequest('the body must be a JSON object; send {"inputs": [...]}')
    if not isinstance(request.get("id", ""), str):
        raise BadRequest("id must be a string")
    return request


def _selected(outputs: list[dict[str, Any]], wanted: object) -> list[dict[str, Any]]:
    """Return the outputs that the request names, all if it names none."""
    if wanted is None:
        return outputs
    by_name = {output["name"]: output for output in outputs}
    if not isinstance(wanted, list) or not all(isinstance(entry, dict) for entry in wanted):
        raise BadRequest('outputs must be a list of objects such as {"name": "probability"}')
    for entry in wanted:
        if entry.get("name") not in by_name:
            raise BadRequest(f"unknown output {entry.get('name')!r}; this model has {', '.join(by_name)}")
    return [by_name[entry["name"]] for entry in wanted] or outputs
