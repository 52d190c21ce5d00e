"""Which Docker engine this host's operator means, and the registry credentials `docker login` left: as the docker command does.

The docker SDK reads contexts and credentials; it is imported only when a configuration file asks for either, since it
costs 0.3 s.  Nothing else uses it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from cluster.base.http_client import Connector, TcpConnector, UnixConnector
from cluster.kubelet.runtime.api import EngineError, RegistryAuth

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_CONFIG_MAX_BYTES = 1 << 20
CREDENTIALS_TIMEOUT_S = 30.0


def docker_connector(environ: Mapping[str, str]) -> Connector:
    """DOCKER_HOST, else DOCKER_CONTEXT, else the current context, else the default socket.

    With tcp, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH mean what they mean to the docker command.  Raises EngineError for
    ssh and npipe: the agent enters its containers' namespaces, so the engine must be on this host.
    """
    host = environ.get("DOCKER_HOST", "")
    if host:
        verify = bool(environ.get("DOCKER_TLS_VERIFY"))
        directory = Path(environ.get("DOCKER_CERT_PATH") or _config_directory(environ))
        return connector_of(host, certificates=directory if verify else None)
    context = environ.get("DOCKER_CONTEXT") or _docker_config(environ).get("currentContext") or "default"
    if context == "default":
        return connector_of(DEFAULT_SOCKET, certificates=None)
    from docker.context import ContextAPI

    found = ContextAPI.get_context(str(context))
    if found is None:
        raise EngineError("ContainerRuntimeUnavailable", f"there is no docker context {context!r}")
    tls = found.TLSConfig
    return connector_of(found.Host, certificates=Path(tls.ca_cert).parent if tls and tls.ca_cert else None)


def connector_of(host: str, *, certificates: Path | None) -> Connector:
    """The endpoint `host` (unix://PATH or tcp://ADDRESS:PORT); `certificates` holds ca.pem, cert.pem and key.pem."""
    parts = urlsplit(host)
    if parts.scheme == "unix" and parts.path:
        return UnixConnector(parts.path)
    if parts.scheme in ("tcp", "http", "https") and parts.hostname:
        is_tls = certificates is not None or parts.scheme == "https"
        port = parts.port or (2376 if is_tls else 2375)
        return TcpConnector(parts.hostname, port, tls=_client_tls(certificates) if is_tls else None)
    raise EngineError(
        "ContainerRuntimeUnavailable", f"cannot use a container engine at {host!r}: unix:// and tcp:// only"
    )


class HostCredentials:
    """What `docker login` stored for a registry, its helpers included."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def for_image(self, image: str) -> Sequence[RegistryAuth]:
        """At most one; none without a configuration.  A helper may ask a network: it runs in a thread, with a deadline."""
        config = _docker_config(self._environ)
        if not any(config.get(key) for key in ("auths", "credsStore", "credHelpers")):
            return ()
        try:
            async with asyncio.timeout(CREDENTIALS_TIMEOUT_S):
                found = await asyncio.to_thread(_stored_credentials, config, image)
        except TimeoutError:
            raise EngineError("ErrImagePull", "the registry credential helper does not answer") from None
        return (found,) if found is not None else ()


def _stored_credentials(config: dict[str, object], image: str) -> RegistryAuth | None:
    from docker import auth
    from docker.errors import DockerException

    try:
        registry, _ = auth.resolve_repository_name(image)
        found = auth.load_config(config_dict=config).resolve_authconfig(registry)
    except DockerException as error:
        # the helper's own words may hold a secret
        raise EngineError("ErrImagePull", f"registry credentials cannot be read: {type(error).__name__}") from None
    if not found:
        return None
    return RegistryAuth(
        server=found.get("serveraddress") or registry,
        username=found.get("username") or found.get("Username") or "",
        password=found.get("password") or found.get("Password") or "",
        identity_token=found.get("identitytoken") or found.get("IdentityToken") or "",
    )


def _docker_config(environ: Mapping[str, str]) -> dict[str, object]:
    """config.json, empty when there is none.  Raises EngineError when it cannot be read."""
    path = _config_directory(environ) / "config.json"
    try:
        with path.open("rb") as file:
            config = orjson.loads(file.read(_CONFIG_MAX_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        raise EngineError("ContainerRuntimeUnavailable", f"cannot read {path}: {type(error).__name__}") from None
    if not isinstance(config, dict):
        raise EngineError("ContainerRuntimeUnavailable", f"{path} does not hold an object")
    return config


def _config_directory(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/root") / ".docker")


def _client_tls(certificates: Path | None) -> ssl.SSLContext:
    if certificates is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(str(certificates / "cert.pem"), str(certificates / "key.pem"))
    return context
