"""Where the API server is and who we are to it: from inside a pod or from a kubeconfig."""

from __future__ import annotations

import os
import ssl

from kubernetes.aio import client, config
from kubernetes.aio.client.rest import RESTClientObject

from viridian_operator.kube.errors import Invalid


async def load_access(kubeconfig: str | None = None, *, strict_x509: bool = True) -> client.Configuration:
    """Address and credentials of the API server.

    Parameters
    ----------
    kubeconfig
        File to read; None means the pod's service account, or outside of a pod the file that
        ``KUBECONFIG`` or the home directory gives.
    strict_x509
        False accepts a cluster CA without key usage or key identifiers, which Python ≥ 3.13 refuses.

    Raises
    ------
    Invalid
        If there is no usable configuration; the message says what to set.
    """
    configuration = client.Configuration()
    try:
        if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise Invalid(f"no access to a cluster: {error}; run in a pod or give --kubeconfig") from error
    configuration.disable_strict_ssl_verification = not strict_x509
    return configuration


def ssl_context(configuration: client.Configuration) -> ssl.SSLContext:
    """The TLS settings that our own client uses, for others who talk to the same server."""
    context: ssl.SSLContext = RESTClientObject(configuration).ssl_context
    return context


async def authorization(configuration: client.Configuration) -> str | None:
    """Value of the ``Authorization`` header right now; tokens of service accounts are renewed."""
    bearer = (await configuration.auth_settings()).get("BearerToken")
    if bearer is not None and bearer.get("value"):
        return str(bearer["value"])
    if configuration.username:
        return str(configuration.get_basic_auth_token())
    return None
