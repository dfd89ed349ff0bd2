"""The control plane listens on loopback and on the cluster's own bridge, and its files are what the programs read."""

import ipaddress
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from viridian_local import addresses as at
from viridian_local import certificates, configuration, dns, locks
from viridian_local.components import components
from viridian_local.paths import CHECKOUT, Paths
from viridian_local.toolchain import _numbers

PATHS = Paths(state=Path("/state"), run=Path("/run/x"))


def test_nothing_listens_on_every_address() -> None:
    commands = [part for one in components(PATHS, Path("/bin")) for part in one.command]
    assert "0.0.0.0" not in " ".join(commands)
    assert all(ipaddress.ip_address(host).is_loopback or host == at.HOST for host, _, _ in at.LISTENERS)


def test_addresses_fit_together() -> None:
    assert ipaddress.ip_address(at.HOST) in ipaddress.ip_network(at.POD_CIDR)
    services = ipaddress.ip_network(at.SERVICE_CIDR)
    assert ipaddress.ip_address(at.DNS_SERVICE) in services
    assert str(services[1]) == at.API_SERVICE
    assert not services.overlaps(ipaddress.ip_network(at.POD_CIDR))


def test_every_file_that_a_component_is_given_is_written() -> None:
    written = {f"/state/config/{name}" for name in configuration.files(PATHS)}
    written |= {f"/state/config/{leaf}.kubeconfig" for leaf in certificates.KUBECONFIGS}
    written |= {f"/state/pki/{leaf.file}.{end}" for leaf in certificates.LEAVES for end in ("crt", "key")}
    written |= {f"/state/pki/{name}.{end}" for name in ("ca", "etcd-ca") for end in ("crt", "key")}
    written |= {"/state/pki/service-account.key", "/state/pki/service-account.pub"}
    parts = [part.rpartition("=")[2] for one in components(PATHS, Path("/bin")) for part in one.command]
    asked = {part for part in parts if part.startswith(("/state/config/", "/state/pki/"))}
    assert asked <= written


def test_configuration_files_are_valid() -> None:
    for name, text in configuration.files(PATHS).items():
        if name.endswith((".yaml", ".conflist")):
            assert json.loads(text)


def test_the_name_service_answers_under_the_address_that_pods_are_given() -> None:
    service = next(one for one in dns.objects() if one["kind"] == "Service")
    kubelet = json.loads(configuration.files(PATHS)["kubelet.yaml"])
    assert service["spec"]["clusterIP"] == kubelet["clusterDNS"][0]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_certificates_satisfy_strict_clients(tmp_path: Path) -> None:
    certificates.create(tmp_path)
    strict = ["openssl", "verify", "-x509_strict", "-CAfile"]
    for leaf in certificates.LEAVES:
        command = [*strict, tmp_path / f"{leaf.authority}.crt", tmp_path / f"{leaf.file}.crt"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{leaf.file}: {done.stdout}{done.stderr}"
    assert (tmp_path / "admin.key").stat().st_mode & 0o077 == 0


def test_versions_compare_as_numbers() -> None:
    assert _numbers("1.26.8") > _numbers("1.26.0") > _numbers("1.9.9") > _numbers("1.26rc1")


def test_lock_files_name_no_registry_and_pin_hashes() -> None:
    for lock in locks.LOCKS:
        text = (CHECKOUT / lock.path).read_text()
        assert "://" not in text, lock.path
        assert "--hash=sha256:" in text, lock.path
