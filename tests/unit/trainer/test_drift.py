"""The drift monitor: what it notices, what it leaves out, and that it survives anything."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import redis

from viridian_model.schema import Schema
from viridian_trainer.drift.detector import LARGEST_LOSS, RiseDetector
from viridian_trainer.drift.monitor import BATCH, Monitor, log_loss
from viridian_trainer.drift.service import ActiveService, NotTold
from viridian_trainer.drift.state import MonitorState, Overtaken
from viridian_trainer.eventlog.redis_stream import RedisEventLog, RedisSource
from viridian_trainer.synthetic import BASE_LOGIT, SyntheticConfig, World

CHANGES = (6_000, 12_000, 18_000)
SCHEMA = Schema(categorical=("user", "item", "hour"))
DELTA = 0.03


class Oracle:
    """Predicts by the tastes of one era of the generator: a perfect model of the world as it was."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.world, self.era = World(config), 0

    def probability(self, row: dict[str, Any]) -> float:
        world, user, item = self.world, int(row["user"][1:]), int(row["item"][1:])
        _, quality, affinity = world._tastes[self.era]
        liking = quality[item] + affinity[world._cluster[user], world._genre[item]]
        logit = BASE_LOGIT + liking + world._habit[user] + world._hour[int(row["hour"])]
        return float(1 / (1 + math.exp(-logit)))


def losses(seed: int, changes: tuple[int, ...] = CHANGES) -> Iterator[float]:
    """Of a perfect model that is replaced 1500 events after each change, as by an update."""
    config = SyntheticConfig(seed=seed, change_points=changes)
    oracle = Oracle(config)
    for number, impression in enumerate(World(config).events(0, 24_000)):
        oracle.era = sum(number >= change + 1500 for change in changes)
        yield log_loss(oracle.probability(impression.row), impression.row["label"])


@pytest.mark.parametrize("seed", range(1, 5))
def test_every_change_of_tastes_is_noticed_within_500_events_and_told_once(seed: int) -> None:
    detector = RiseDetector(DELTA)
    found = [(number, rise) for number, loss in enumerate(losses(seed)) if (rise := detector.add(loss))]
    assert len(found) == len(CHANGES), found
    for change, (number, rise) in zip(CHANGES, found, strict=True):
        assert 0 <= number - change <= 500
        assert rise.after > rise.before + 0.05


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_world_that_stays_as_it_is_raises_no_alarm(seed: int) -> None:
    detector = RiseDetector(DELTA)
    assert not any(detector.add(loss) for loss in losses(seed, ()))


def test_a_loss_that_falls_is_no_news_and_one_wild_prediction_neither() -> None:
    detector = RiseDetector(DELTA)
    assert not any(detector.add(loss) for loss in [0.7] * 2000 + [0.4] * 2000)
    assert not any(detector.add(loss) for loss in [100 * LARGEST_LOSS] + [0.4] * 500)


# -- the monitor ------------------------------------------------------------------------------


class Served:
    """A server of the Open Inference Protocol whose predictions the test decides."""

    def __init__(self) -> None:
        self.predict: Callable[[str], float] = lambda _item: 0.5
        self.headers = {"x-model-version": "4", "x-model-watermark": "1970-01-01T00:00:00.000Z"}
        self.status, self.asked = 200, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                items = next(each["data"] for each in body["inputs"] if each["name"] == "item")
                outer.asked += len(items)
                data = [outer.predict(item) for item in items]
                output = {"name": "probability", "datatype": "FP32", "shape": [len(data)], "data": data}
                text = json.dumps({"outputs": [output]}).encode()
                self.send_response(outer.status)
                for name, value in (outer.headers | {"content-length": str(len(text))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def source(redis_url: str) -> RedisSource:
    return RedisSource(redis_url, f"clicks-{uuid.uuid4().hex[:8]}", partitions=2)


def append(source: RedisSource, count: int, *, clicked: bool, start: float = 1000.0, item: str = "i1") -> None:
    client = source.connect()
    for number in range(count):
        row = {"id": uuid.uuid4().hex, "ts": start + number, "user": "u", "item": item, "hour": "1"}
        client.xadd(f"{source.stream}:{number % 2}", {"event": json.dumps(row | {"label": int(clicked)})})


def monitor(source: RedisSource, served: Served, key: str = "uid") -> Monitor:
    service = ActiveService(served.url, "ctr", SCHEMA)
    return Monitor(RedisEventLog(source), SCHEMA, service, MonitorState(source, key), DELTA)


def run(work: Monitor) -> None:
    while work.step():
        pass


def findings(source: RedisSource, key: str = "uid") -> dict[str, str]:
    client = redis.Redis.from_url(source.url, decode_responses=True)
    return dict(client.hgetall(f"{source.stream}:drift:{key}"))


def test_each_new_event_is_scored_once_however_often_the_monitor_starts(source: RedisSource, served: Served) -> None:
    append(source, 10, clicked=True)
    work = monitor(source, served)
    assert work.step() == 0, "it begins at the end of the log"
    append(source, BATCH + 44, clicked=True)
    assert work.step() == BATCH
    run(monitor(source, served))
    assert served.asked == BATCH + 44
    assert (findings(source)["scored"], findings(source)["leftOut"]) == (str(BATCH + 44), "0")


def test_a_rise_is_told_with_its_numbers_also_after_a_restart(source: RedisSource, served: Served) -> None:
    served.predict = lambda _item: 0.8
    monitor(source, served).step()
    append(source, 1000, clicked=True)
    run(monitor(source, served))
    assert "detection" not in findings(source)
    append(source, 600, clicked=False, start=5000.0)
    run(monitor(source, served))
    found = json.loads(findings(source)["detection"])
    assert found["number"] == 1
    assert found["version"] == "4"
    assert found["before"] == pytest.approx(-math.log(0.8), abs=0.05)
    assert found["before"] < found["after"] <= LARGEST_LOSS
    assert 5000 <= found["eventTime"] < 5200
    run(monitor(source, served))
    assert json.loads(findings(source)["detection"]) == found


def test_an_event_that_the_model_may_have_trained_on_does_not_count(source: RedisSource, served: Served) -> None:
    work = monitor(source, served)
    work.step()
    append(source, 100, clicked=True, start=1000.0)
    served.headers["x-model-watermark"] = "1970-01-01T00:17:29.000Z"  # 1049 s
    run(work)
    assert (findings(source)["scored"], findings(source)["leftOut"]) == ("50", "50")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda served: served.headers.pop("x-model-watermark"), "x-model-watermark"),
        (lambda served: setattr(served, "status", 503), "answers 503"),
        (lambda served: setattr(served, "predict", lambda _: 1.5), "probabilities"),
        (lambda served: setattr(served, "predict", lambda _: None), "numbers"),
    ],
)
def test_predictions_that_cannot_be_scored_are_said_and_nothing_is_passed_over(
    source: RedisSource, served: Served, break_it: Callable[[Served], Any], said: str
) -> None:
    work = monitor(source, served)
    work.step()
    append(source, 10, clicked=True)
    before, predict, status = dict(served.headers), served.predict, served.status
    break_it(served)
    with pytest.raises(NotTold, match=said):
        work.step()
    served.headers, served.predict, served.status = before, predict, status
    assert work.step() == 10
    assert findings(source)["scored"] == "10"


def test_a_second_monitor_does_not_count_events_again(source: RedisSource, served: Served) -> None:
    one = monitor(source, served)
    append(source, 10, clicked=True)
    other = monitor(source, served)
    assert other.step() == 10
    with pytest.raises(Overtaken):
        one.step()
    assert findings(source)["scored"] == "10"


def test_what_was_trimmed_or_replaced_is_passed_over(source: RedisSource, served: Served) -> None:
    work = monitor(source, served)
    work.step()
    append(source, 20, clicked=True)
    client = source.connect()
    client.xtrim(f"{source.stream}:0", maxlen=2, approximate=False)
    run(work)
    assert findings(source)["scored"] == "12"
    client.delete(f"{source.stream}:0", f"{source.stream}:1")
    append(source, 4, clicked=True)
    run(work)
    append(source, 4, clicked=True)
    run(work)
    assert int(findings(source)["scored"]) <= 20


@pytest.mark.thorough
def test_the_process_follows_the_log_and_says_what_keeps_it(source: RedisSource, served: Served) -> None:
    stream = {"url": source.url, "stream": source.stream, "partitions": source.partitions}
    data = {"source": {"redisStream": stream}, "schema": SCHEMA.model_dump(mode="json")}
    env = os.environ | {
        "VIRIDIAN_TASK": "Monitor",
        "VIRIDIAN_MODEL_NAME": "ctr",
        "VIRIDIAN_ACTIVE_URL": served.url,
        "VIRIDIAN_DATA": json.dumps(data),
        "VIRIDIAN_DRIFT": json.dumps({"delta": DELTA, "key": "uid"}),
    }
    process = subprocess.Popen([sys.executable, "-m", "viridian_trainer"], env=env, stderr=subprocess.DEVNULL)
    try:
        until(lambda: "error" in findings(source))
        append(source, 2, clicked=True)
        served.status = 503
        append(source, 20, clicked=True)
        until(lambda: "503" in findings(source)["error"])
        served.status = 200
        until(lambda: not findings(source)["error"] and int(findings(source).get("scored", 0)) >= 20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
