"""Polls of followed aliases: one request per look, told once, patient while the registry is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from viridian_operator.registry.errors import NotFound, RegistryError, Unauthorized, Unavailable
from viridian_operator.registry.poller import AliasPoller


class Registry:
    """A registry whose aliases and failures the test sets."""

    def __init__(self) -> None:
        self.named: dict[str, str] = {"challenger": "1"}
        self.error: RegistryError | None = None
        self.looks = 0

    async def aliases(self, _model: str) -> dict[str, str]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return dict(self.named)


class Setting:
    """A poller, a registry, and whom the poller woke."""

    def __init__(self) -> None:
        self.woken: list[str] = []
        self.poller: AliasPoller[str] = AliasPoller(self.woken.append)
        self.registry = Registry()

    def watch(self, known: str, alias: str = "challenger", interval: float = 0.01) -> None:
        registry: Any = self.registry
        self.poller.watch("ctr", registry, "ctr", alias, known=known, interval=interval)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    made = Setting()
    yield made
    await made.poller.aclose()


async def test_who_follows_is_woken_when_the_alias_moves(setting: Setting) -> None:
    setting.watch("1")
    await setting.until(lambda: setting.registry.looks >= 3)
    assert setting.woken == []
    setting.registry.named = {"challenger": "2"}
    await setting.until(lambda: bool(setting.woken))
    setting.watch("2")
    setting.woken.clear()
    seen = setting.registry.looks
    await setting.until(lambda: setting.registry.looks >= seen + 3)
    assert setting.woken == []


@pytest.mark.parametrize("absent", [{}, NotFound("no such model")])
async def test_an_alias_that_is_gone_or_not_set_yet_is_a_version_like_any_other(setting: Setting, absent: Any) -> None:
    if isinstance(absent, RegistryError):
        setting.registry.error = absent
    else:
        setting.registry.named = absent
    setting.watch("")
    await setting.until(lambda: setting.registry.looks >= 2)
    assert setting.woken == []
    setting.watch("1")
    await setting.until(lambda: bool(setting.woken))


async def test_nobody_is_woken_or_asked_about_any_more(setting: Setting) -> None:
    setting.watch("7")
    setting.poller.unwatch("ctr")
    await asyncio.sleep(0.05)
    assert (setting.woken, setting.registry.looks) == ([], 0)


async def test_a_registry_that_is_down_is_asked_less_and_less(setting: Setting) -> None:
    setting.registry.error = Unavailable("down")
    setting.watch("1")
    await setting.until(lambda: setting.registry.looks >= 3)
    waits = setting.poller._watches["ctr"].next_at - setting.poller._clock()
    assert waits > 0.02
    assert setting.woken == [], "an error is no news of the alias"
    setting.registry.error = None
    setting.registry.named = {"challenger": "2"}
    await setting.until(lambda: bool(setting.woken))


async def test_refused_credentials_are_read_again_but_not_over_and_over(setting: Setting) -> None:
    setting.registry.error = Unauthorized("who are you")
    setting.watch("1")
    await setting.until(lambda: bool(setting.woken))
    failures = setting.poller._watches["ctr"].failures
    setting.watch("1")
    assert setting.poller._watches["ctr"].failures >= failures
