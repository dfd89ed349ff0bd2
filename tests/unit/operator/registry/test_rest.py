"""What the client makes of a registry that is down, refuses us, or is something else."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web
from http_server import answering

from viridian_operator.registry.credentials import Basic, Bearer, credentials_from
from viridian_operator.registry.errors import Invalid, NotFound, RegistryError, Unauthorized, Unavailable
from viridian_operator.registry.mlflow import MlflowRegistry

VERSION = {"model_version": {"name": "m", "version": "3"}}


class Stub:
    """Answers (status, body) in turn, the last for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = []
        self.seen: list[web.Request] = []
        self.url = ""
        self.hang: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        if self.hang is not None:
            await self.hang.wait()
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status)


@pytest.fixture
async def stub():
    served = Stub()
    async with answering(served.handle) as served.url:
        yield served
        if served.hang:
            served.hang.set()


def said(code: str, message: str = "because") -> dict[str, str]:
    return {"error_code": code, "message": message}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, said("RESOURCE_DOES_NOT_EXIST"), NotFound),
        (404, "Not Found", Unavailable),
        (404, said("ENDPOINT_NOT_FOUND"), Invalid),
        (400, said("INVALID_PARAMETER_VALUE"), Invalid),
        (401, "You are not authenticated", Unauthorized),
        (403, said("PERMISSION_DENIED"), Unauthorized),
        (403, "Invalid Host header - possible DNS rebinding attack detected", Unauthorized),
        (429, said("REQUEST_LIMIT_EXCEEDED"), Unavailable),
        (500, said("INTERNAL_ERROR"), Unavailable),
        (503, "starting", Unavailable),
        (302, "elsewhere", Invalid),
        (200, "<html>login</html>", Unavailable),
        (200, "[]", Unavailable),
    ],
)
async def test_every_bad_answer_has_its_type(session, stub: Stub, status, body, error: type[RegistryError]) -> None:
    stub.answers = [(status, body)]
    with pytest.raises(RegistryError) as caught:
        await MlflowRegistry(session, stub.url, total=0.2).version("m", 3)
    assert type(caught.value) is error
    assert stub.url in caught.value.message


async def test_a_passing_fault_is_not_seen(session, stub: Stub) -> None:
    stub.answers = [(500, said("INTERNAL_ERROR")), (503, "x"), (200, VERSION)]
    assert (await MlflowRegistry(session, stub.url).version("m", 3)).version == "3"


async def test_a_registry_that_hangs_is_given_up_in_time(session, stub: Stub) -> None:
    stub.hang = asyncio.Event()
    started = time.monotonic()
    with pytest.raises(Unavailable, match="did not answer"):
        await MlflowRegistry(session, stub.url, total=0.5).set_alias("m", "champion", "3")
    assert time.monotonic() - started < 2


async def test_a_registry_that_is_not_there(session) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        await MlflowRegistry(session, "http://127.0.0.1:1", total=0.3).health()


@pytest.mark.parametrize("uri", ["http://", "mlflow:5000", "http://a b/"])
async def test_what_is_no_address_is_said(session, uri: str) -> None:
    with pytest.raises((Invalid, Unavailable)):
        await MlflowRegistry(session, uri, total=0.2).health()


@pytest.mark.parametrize(
    ("credentials", "header"), [(Bearer("s3cret"), "Bearer s3cret"), (Basic("u", "s3cret"), "Basic dTpzM2NyZXQ=")]
)
async def test_credentials_are_sent_and_never_told(session, stub: Stub, credentials, header: str, caplog) -> None:
    stub.answers = [(401, "no")]
    caplog.set_level("DEBUG")
    with pytest.raises(Unauthorized) as caught:
        await MlflowRegistry(session, stub.url, credentials).health()
    assert stub.seen[0].headers["Authorization"] == header
    assert "s3cret" not in caught.value.message + repr(credentials) + caplog.text


async def test_credentials_in_an_address_are_not_told(session, stub: Stub) -> None:
    stub.answers = [(401, "no")]
    with pytest.raises(Unauthorized) as caught:
        await MlflowRegistry(session, stub.url.replace("http://", "http://user:s3cret@")).health()
    assert "s3cret" not in caught.value.message


def test_credentials_from_a_secret() -> None:
    assert credentials_from({"MLFLOW_TRACKING_TOKEN": "t\n"}) == Bearer("t")
    both = {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p\n"}
    assert credentials_from(both) == Basic("u", "p")
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_TOKEN"):
        credentials_from({"password": "x"})


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as opened:
        yield opened
