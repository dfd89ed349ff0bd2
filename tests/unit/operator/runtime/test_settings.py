"""Settings: from variables and flags, and refused in words."""

from __future__ import annotations

import argparse

import pytest

from viridian_operator.__main__ import main
from viridian_operator.runtime.settings import Settings, SettingsError, add_flags, read_settings


def parsed(*flags: str, **environment: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return read_settings(
        vars(parser.parse_args(flags)), {f"VIRIDIAN_{key}": value for key, value in environment.items()}
    )


def test_a_flag_wins_over_a_variable_and_that_over_the_default() -> None:
    assert parsed().workers == 8
    assert parsed(WORKERS="3").workers == 3
    assert parsed("--workers", "5", WORKERS="3").workers == 5


@pytest.mark.parametrize(("text", "wanted"), [("", ()), ("a", ("a",)), (" b, a ,b,", ("b", "a"))])
def test_namespaces(text: str, wanted: tuple[str, ...]) -> None:
    assert parsed(NAMESPACES=text).namespaces == wanted


def test_switches_are_read_as_words() -> None:
    assert parsed(STRICT_X509="false", LEADER_ELECTION="no").strict_x509 is False
    assert parsed("--leader-election", "false").leader_election is False


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"WORKERS": "many"}, "workers"),
        ({"WORKERS": "0"}, "workers"),
        ({"RESYNC": "30"}, "resync"),
        ({"LOG_LEVEL": "LOUD"}, "log_level"),
        ({"LEASE_DEADLINE": "9"}, "lease_deadline"),
        ({"PROBE_PORT": "99999"}, "probe_port"),
    ],
)
def test_what_cannot_be_used_is_named(wrong: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        parsed(**wrong)


def test_two_processes_of_one_pod_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "viridian-0")
    first, second = parsed().identity, parsed().identity
    assert first != second
    assert first.startswith("viridian-0_")


def test_the_command_line_says_what_is_wrong_without_a_traceback(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRIDIAN_WORKERS", "many")
    assert main([]) == 64
    assert "workers" in capsys.readouterr().err


def test_version_and_crd_and_help(capsys) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.strip().count(".") == 2
    assert main(["crd"]) == 0
    assert "modelupdates.viridian.dev" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--help"])
    assert stopped.value.code == 0
    assert "VIRIDIAN_LEASE_DURATION" in capsys.readouterr().out.replace("\n", "")


def test_no_cluster_at_all_is_said(tmp_path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(["--kubeconfig", str(tmp_path / "none")]) == 2
    assert "--kubeconfig" in capfd.readouterr().err
