"""Access to the cluster from inside a pod and from a file."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from kubernetes.aio.config import incluster_config

from viridian_operator.kube.access import authorization, load_access, ssl_context
from viridian_operator.kube.errors import Invalid


@pytest.fixture
def pod(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """The files and variables of a pod."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    paths = ssl.get_default_verify_paths()
    authorities = tmp_path / "ca.crt"
    authorities.write_bytes(Path(paths.cafile or paths.openssl_cafile).read_bytes())
    token = tmp_path / "token"
    token.write_text("first")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authorities))
    return token


async def test_a_renewed_token_of_the_service_account_is_used(pod, monkeypatch: pytest.MonkeyPatch) -> None:
    access = await load_access()
    assert access.host == "https://10.96.0.1:443"
    assert await authorization(access) == "bearer first"
    pod.write_text("second")
    loader = access.refresh_api_key_hook.__closure__
    for cell in loader:
        if isinstance(cell.cell_contents, incluster_config.InClusterConfigLoader):
            cell.cell_contents.token_expires_at = cell.cell_contents.token_expires_at.replace(year=2000)
    assert await authorization(access) == "bearer second"


@pytest.mark.parametrize("strict", [True, False])
async def test_strict_verification_is_a_setting(pod, strict: bool) -> None:
    flags = ssl_context(await load_access(strict_x509=strict)).verify_flags
    assert bool(flags & ssl.VERIFY_X509_STRICT) is strict


async def test_no_configuration_is_said(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Invalid, match="--kubeconfig"):
        await load_access(str(tmp_path / "none"))
