"""Open-loop load on an Open Inference endpoint, and a count of every answer that is not as it should be.

``python -m viridian_demo.load --url http://ctr.recsys/v2/models/ctr/infer --rate 100 --mode both --duration 60``

Requests leave on a fixed schedule however long answers take, and a latency counts from the scheduled moment, so that a
stalled server is not spared the requests it would have got (coordinated omission: Tene, How not to measure latency).
Needs nothing but aiohttp, so that the file can be mounted into any pod that has it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

MODES = ("keepalive", "new")
_SPAN_GAP = 2.0
_LISTED = 200
_LAST = 3
_RESOLUTION = math.log(1.01)


class BadAnswer(Exception):
    """The server answered 200 with something that is no answer to the request."""


class Latencies:
    """Histogram with a resolution of 1 %, so that memory does not grow with the run."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._worst = 0.0

    def add(self, seconds: float) -> None:
        """Count one latency."""
        self._buckets[math.ceil(math.log(max(seconds, 1e-6)) / _RESOLUTION)] += 1
        self._worst = max(self._worst, seconds)

    def to_json(self) -> dict[str, float | int | None]:
        """Return count, percentiles and maximum in milliseconds."""
        points = {f"p{str(q).replace('.', '')}": self._quantile(q / 100) for q in (50, 90, 99, 99.9)}
        return {"n": self._buckets.total(), **points, "max": round(self._worst * 1000, 3)}

    def _quantile(self, share: float) -> float | None:
        left = math.ceil(self._buckets.total() * share)
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return round(min(math.exp(bucket * _RESOLUTION), self._worst) * 1000, 3)
        return None


@dataclass
class Seen:
    """Answers of one version: how many and when (seconds since the start of the run)."""

    version: str
    digest: str
    count: int = 0
    spans: list[list[float]] = field(default_factory=list)

    def add(self, moment: float) -> None:
        """Count one answer; a pause of two seconds starts another span, as after a rollback."""
        self.count += 1
        if not self.spans or (moment - self.spans[-1][1] > _SPAN_GAP and len(self.spans) < _LISTED):
            self.spans.append([moment, moment])
        self.spans[-1][1] = max(moment, self.spans[-1][1])

    def to_json(self, start: float) -> dict[str, Any]:
        """Return counts and times; ``start`` is the wall clock at the start of the run."""
        first, last = self.spans[0][0], self.spans[-1][1]
        times = {"first": round(first, 4), "last": round(last, 4)}
        wall = {"firstTime": round(start + first, 4), "lastTime": round(start + last, 4)}
        spans = [[round(a, 4), round(b, 4)] for a, b in self.spans]
        return {"version": self.version, "digest": self.digest, "count": self.count, **times, **wall, "spans": spans}


class Golden:
    """Expected outputs by digest for fixed inputs: ``{digest: {"tolerance", "requests": [{"inputs", "outputs"}]}}``.

    The file is read again when it changes, so that versions which appear during the run can be added.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._stamp = path, 0.0
        self.inputs: list[list[dict[str, Any]]] = []
        self._expected: dict[tuple[str, str], tuple[list[Any], float]] = {}
        self.observed: dict[tuple[str, int], Counter[str]] = {}
        self.reload()

    def reload(self) -> None:
        """Read the file if it is another one than before."""
        if self._path is None or (stamp := self._path.stat().st_mtime) == self._stamp:
            return
        digests = json.loads(self._path.read_bytes())
        self._stamp = stamp
        for digest, golden in digests.items():
            for request in golden["requests"]:
                if request["inputs"] not in self.inputs:
                    self.inputs.append(request["inputs"])
                entry = (request["outputs"][0]["data"], float(golden.get("tolerance", 1e-4)))
                self._expected[digest, json.dumps(request["inputs"])] = entry

    def check(self, digest: str, number: int, got: list[float]) -> bool | None:
        """Say whether the answer to fixed input ``number`` is right; None if it is not known."""
        observed = self.observed.setdefault((digest, number), Counter())
        if len(observed) < _LISTED:
            observed[json.dumps([round(value, 6) for value in got])] += 1
        expected = self._expected.get((digest, json.dumps(self.inputs[number])))
        if expected is None:
            return None
        wanted, tolerance = expected
        return len(wanted) == len(got) and all(abs(a - b) <= tolerance for a, b in zip(wanted, got, strict=True))


@dataclass
class Tally:
    """What was counted for one mode."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    mixed: int = 0
    wrong: int = 0
    checked: int = 0
    old_after_new: int = 0
    last_old: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)

    def to_json(self) -> dict[str, Any]:
        """Return the counters."""
        return {
            **self.counters(),
            "checked": self.checked,
            "lastOld": self.last_old,
            "reasons": dict(self.reasons),
            "latencyMs": self.latencies.to_json(),
        }

    def counters(self) -> dict[str, int]:
        """Return what runs along in live lines."""
        names = {"sent": self.sent, "ok": self.ok, "failed": self.failed, "mixed": self.mixed}
        return names | {"wrong": self.wrong, "oldAfterNew": self.old_after_new}


class Load:
    """One run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._modes = MODES if options.mode == "both" else (options.mode,)
        self._tallies = {mode: Tally() for mode in self._modes}
        self._golden = Golden(options.golden)
        self._random = random.Random(options.seed)
        self._seen: dict[tuple[str, str], Seen] = {}
        self._newest: tuple[tuple[str, str], float] | None = None
        self._failures: list[dict[str, Any]] = []
        self._failed_spans: list[list[float]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._start, self._start_wall = time.monotonic(), time.time()

    async def run(self) -> dict[str, Any]:
        """Send until duration or count is reached or a signal comes; return the summary."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        timeout = aiohttp.ClientTimeout(total=self._options.timeout)
        sessions = {
            mode: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=mode == "new"), timeout=timeout
            )
            for mode in self._modes
        }
        live = asyncio.create_task(self._live())
        try:
            await self._send_all(sessions)
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            live.cancel()
            for session in sessions.values():
                await session.close()
        return self.summary()

    async def _send_all(self, sessions: dict[str, aiohttp.ClientSession]) -> None:
        self._start, self._start_wall = time.monotonic(), time.time()
        for number, moment in enumerate(self._schedule()):
            delay = self._start + moment - time.monotonic()
            if delay > 0 and await _is_set(self._stop, delay):
                return
            if self._stop.is_set():
                return
            mode = self._modes[number % len(self._modes)]
            self._tallies[mode].sent += 1
            if len(self._tasks) >= self._options.max_outstanding:
                self._failed(mode, str(number), "not sent: too many requests are outstanding")
                continue
            task = asyncio.create_task(self._send(sessions[mode], mode, number, moment))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if delay <= 0:
                await asyncio.sleep(0)  # behind schedule: let the sockets have their turn

    def _schedule(self) -> Iterator[float]:
        count = min(self._options.count, math.ceil(self._options.rate * self._options.duration))
        return (number / self._options.rate for number in range(count))

    async def _send(self, session: aiohttp.ClientSession, mode: str, number: int, moment: float) -> None:
        fixed = number // 4 % len(self._golden.inputs) if self._golden.inputs and number // 2 % 2 else None
        inputs = self._inputs() if fixed is None else self._golden.inputs[fixed]
        identifier = f"{mode}-{number}"
        try:
            body = {"id": identifier, "inputs": inputs}
            async with session.post(self._options.url, json=body) as response:
                text = await response.text()
                if response.status != 200:
                    self._failed(mode, identifier, f"status {response.status}", text[:300])
                    return
                headers = response.headers
            received = time.monotonic() - self._start
            key, data, mixed = _read(text, headers, identifier, inputs)
        except (aiohttp.ClientError, OSError, TimeoutError, BadAnswer) as error:
            self._failed(mode, identifier, type(error).__name__, str(error)[:300])
            return
        tally = self._tallies[mode]
        tally.ok += 1
        tally.latencies.add(received - moment)
        if mixed:
            tally.mixed += 1
            self._list(mode, identifier, "mixed", mixed)
        self._see(tally, key, moment, received)
        if fixed is not None:
            self._check(mode, identifier, key[1], fixed, data)

    def _see(self, tally: Tally, key: tuple[str, str], sent: float, received: float) -> None:
        """Count by version; an answer is old if its request was due after the first answer of a newer version."""
        if key not in self._seen:
            self._seen[key] = Seen(*key)
            self._newest = (key, received)
        self._seen[key].add(received)
        if self._newest and key != self._newest[0] and sent > self._newest[1]:
            tally.old_after_new += 1
            tally.last_old = round(received, 4)

    def _check(self, mode: str, identifier: str, digest: str, number: int, data: list[float]) -> None:
        right = self._golden.check(digest, number, data)
        tally = self._tallies[mode]
        tally.checked += right is not None
        if right is False:
            tally.wrong += 1
            self._list(mode, identifier, "wrong", f"{digest} gave {data} for fixed input {number}")

    def _inputs(self) -> list[dict[str, Any]]:
        n = self._random.randint(1, 4)
        tensors = []
        for name, kind in self._options.inputs:
            if kind == "FP32":
                data: list[Any] = [round(self._random.uniform(0, 10), 3) for _ in range(n)]
            else:
                data = [str(self._random.randrange(int(kind))) for _ in range(n)]
            datatype = "FP32" if kind == "FP32" else "BYTES"
            tensors.append({"name": name, "datatype": datatype, "shape": [n], "data": data})
        return tensors

    def _failed(self, mode: str, identifier: str, reason: str, detail: str = "") -> None:
        self._tallies[mode].failed += 1
        self._tallies[mode].reasons[reason] += 1
        self._span(time.time())
        self._list(mode, identifier, reason, detail)

    def _span(self, moment: float) -> None:
        """Failures in a row are one span of wall-clock times; a pause of two seconds ends it."""
        if not self._failed_spans or moment - self._failed_spans[-1][1] > _SPAN_GAP:
            self._failed_spans.append([moment, moment, 0])
        self._failed_spans[-1][1] = moment
        self._failed_spans[-1][2] += 1

    def _list(self, mode: str, identifier: str, reason: str, detail: str) -> None:
        if len(self._failures) < _LISTED:
            at, wall = round(time.monotonic() - self._start, 4), round(time.time(), 4)
            entry = {"at": at, "time": wall, "mode": mode, "id": identifier, "reason": reason, "detail": detail}
            self._failures.append(entry)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(self._options.every)
            with contextlib.suppress(OSError, ValueError):  # half written; it is read again soon
                self._golden.reload()
            if self._options.live:
                versions = {f"{seen.version} {seen.digest[:19]}": seen.count for seen in self._seen.values()}
                moment = {"t": round(time.monotonic() - self._start, 2), "time": round(time.time(), 3)}
                failed = {"reasons": self._reasons(), "lastFailures": self._failures[-_LAST:]}
                line = {**moment, **self._total(), **failed}
                print(json.dumps(line | {"inFlight": len(self._tasks), "versions": versions}), flush=True)

    def _reasons(self) -> dict[str, dict[str, int]]:
        """Why requests failed, by mode."""
        return {mode: dict(tally.reasons) for mode, tally in self._tallies.items()}

    def _total(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for tally in self._tallies.values():
            total.update(tally.counters())
        return dict(total)

    def summary(self) -> dict[str, Any]:
        """Return everything that was counted; times in seconds since ``startTime``."""
        observed = [
            {"digest": digest, "input": number, "answers": dict(counts)}
            for (digest, number), counts in self._golden.observed.items()
        ]
        return {
            "url": self._options.url,
            "rate": self._options.rate,
            "startTime": round(self._start_wall, 4),
            "seconds": round(time.monotonic() - self._start, 3),
            "total": self._total(),
            "modes": {mode: tally.to_json() for mode, tally in self._tallies.items()},
            "versions": [seen.to_json(self._start_wall) for seen in self._seen.values()],
            "failures": self._failures,
            "failedSpans": [[round(a, 3), round(b, 3), count] for a, b, count in self._failed_spans],
            "fixedInputs": observed,
        }


def _read(
    text: str, headers: Any, identifier: str, inputs: list[dict[str, Any]]
) -> tuple[tuple[str, str], list[float], str]:
    """Return (version, digest) of the headers, the probabilities, and how headers and body disagree if they do."""
    try:
        body = json.loads(text)
        data = body["outputs"][0]["data"]
        answered, version = body["id"], body["model_version"]
        digest = body.get("parameters", {}).get("digest")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadAnswer(f"no inference answer ({type(error).__name__}): {text[:200]}") from None
    if answered != identifier:
        raise BadAnswer(f"the answer is for request {answered!r}")
    if len(data) != len(inputs[0]["data"]) or not all(isinstance(p, float) and 0 <= p <= 1 for p in data):
        raise BadAnswer(f"these are not {len(inputs[0]['data'])} probabilities: {data}")
    key = (headers.get("x-model-version", ""), headers.get("x-model-digest", ""))
    mixed = ""
    if key[0] != version or (digest is not None and key[1] != digest):
        mixed = f"headers say {key}, the body says {(version, digest)}"
    return key, data, mixed


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _inputs_option(text: str) -> list[tuple[str, str]]:
    pairs = []
    for part in text.split(","):
        name, _, kind = part.partition(":")
        kind = kind or "1000"
        if not name or not (kind == "FP32" or (kind.isdecimal() and int(kind) > 0)):
            raise argparse.ArgumentTypeError(f"{part!r} is not name, name:COUNT or name:FP32")
        pairs.append((name, kind))
    return pairs


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and a million")
    return value


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="viridian_demo.load", description="Open-loop load on a v2 infer endpoint.")
    parser.add_argument("--url", required=True, help="…/v2/models/NAME/infer")
    parser.add_argument("--rate", type=_positive, default=100.0, help="requests per second, all modes together")
    parser.add_argument("--mode", choices=[*MODES, "both"], default="keepalive", help="kept or new connections")
    parser.add_argument("--duration", type=_positive, default=10.0, help="seconds")
    parser.add_argument("--count", type=int, default=1_000_000, help="never send more than this")
    parser.add_argument("--timeout", type=_positive, default=10.0, help="seconds per request")
    parser.add_argument("--max-outstanding", type=int, default=2000, help="beyond that a request counts as failed")
    parser.add_argument("--inputs", type=_inputs_option, default="user,item,hour:24", help="name:COUNT or name:FP32")
    parser.add_argument("--golden", type=Path, help="digest -> golden requests; every other request is one of them")
    parser.add_argument("--report", default="-", help="file for the summary, - for standard output")
    parser.add_argument("--live", action="store_true", help="print running counters")
    parser.add_argument("--every", type=_positive, default=1.0, help="seconds between running counters")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main() -> int:
    """Run and report; the exit code says nothing about what was counted."""
    options = parse()
    summary = asyncio.run(Load(options).run())
    if options.report == "-":
        print(json.dumps(summary), flush=True)
    else:
        Path(options.report).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        if options.live:
            print(json.dumps(summary), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
