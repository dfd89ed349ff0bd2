from __future__ import annotations

import json
from pathlib import Path

import pytest

from viridian_server.failure import LoadFailure
from viridian_server.revision import read_revision
from viridian_server.settings import read_settings


def test_defaults_are_those_of_a_pod() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.drain_seconds, settings.fetch_timeout) == (None, 8080, 10, 600)
    assert settings.termination_log == Path("/dev/termination-log")
    assert settings.faults is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VIRIDIAN_PORT", "65536"),
        ("VIRIDIAN_PORT", "-1"),
        ("VIRIDIAN_PORT", "٨٠٨٠"),
        ("VIRIDIAN_DRAIN_SECONDS", "nan"),
        ("VIRIDIAN_DRAIN_SECONDS", "10s"),
        ("VIRIDIAN_FETCH_TIMEOUT", "-1"),
        ("VIRIDIAN_INFERENCE_THREADS", "0"),
        ("VIRIDIAN_LOG_LEVEL", "LOUD"),
        ("VIRIDIAN_FAULT", "[]"),
        ("VIRIDIAN_FAULT", '{"slow": -1}'),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    with pytest.raises(LoadFailure, match=name) as caught:
        read_settings({name: value})
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"digest": "md5:1"}, "digest"),
        ({"version": 3}, "version"),
        ({"model": ""}, "model"),
        ({"eventTime": "yesterday"}, "eventTime"),
        ({"follow": True, "chain": ""}, "chain"),
        ({"follow": True, "chain": None}, "chain"),
        ({"follow": True, "chain": 7}, "chain"),
        ({"follow": True, "chain": "ctr/7"}, "chain"),
        ({"follow": True, "chain": "../ctr"}, "chain"),
        ({"follow": True, "model": "click rate"}, "chain"),
    ],
)
def test_a_revision_that_does_not_fit_is_named(tmp_path: Path, change: dict, says: str) -> None:
    wanted = {"model": "ctr", "version": "3", "digest": "sha256:" + "0" * 64, "eventTime": None}
    (tmp_path / "revision.json").write_text(json.dumps(wanted))
    assert read_revision(tmp_path).golden is None
    (tmp_path / "golden.json").write_text("{")
    with pytest.raises(LoadFailure, match=r"golden\.json is not JSON"):
        read_revision(tmp_path)
    (tmp_path / "revision.json").write_text(json.dumps(wanted | change))
    with pytest.raises(LoadFailure, match=rf"revision\.json: {says}"):
        read_revision(tmp_path)


@pytest.mark.parametrize(
    ("change", "chain"),
    [({"follow": True, "chain": "ctr-7"}, "ctr-7"), ({"follow": True}, "ctr"), ({"chain": "ctr-7"}, "ctr")],
)
def test_a_chain_is_named_by_the_file_or_like_the_model(tmp_path: Path, change: dict, chain: str) -> None:
    wanted = {"model": "ctr", "version": "3", "digest": "sha256:" + "0" * 64}
    (tmp_path / "revision.json").write_text(json.dumps(wanted | change))
    assert read_revision(tmp_path).chain == chain
