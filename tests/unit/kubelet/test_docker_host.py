"""Finding the engine and credentials the docker command would use."""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
import pytest

from cluster.base.http_client import TcpConnector, UnixConnector
from cluster.kubelet.runtime.api import EngineError
from cluster.kubelet.runtime.docker_host import HostCredentials, docker_connector


def configured(directory: Path, **config: object) -> dict[str, str]:
    (directory / "config.json").write_bytes(orjson.dumps(config))
    return {"DOCKER_CONFIG": str(directory)}


def test_without_settings_the_default_socket_is_used(tmp_path: Path) -> None:
    assert docker_connector({"HOME": str(tmp_path)}) == UnixConnector("/var/run/docker.sock")


def test_docker_host_wins_over_a_context(tmp_path: Path) -> None:
    environ = {**configured(tmp_path, currentContext="other"), "DOCKER_HOST": "unix:///run/x.sock"}
    assert docker_connector(environ) == UnixConnector("/run/x.sock")
    assert docker_connector({**environ, "DOCKER_HOST": "tcp://127.0.0.1"}) == TcpConnector("127.0.0.1", 2375)


@pytest.mark.parametrize("host", ["ssh://me@there", "npipe:////./pipe/x", "unix://", "nonsense"])
def test_an_engine_elsewhere_is_refused(host: str) -> None:
    with pytest.raises(EngineError, match="unix:// and tcp:// only"):
        docker_connector({"DOCKER_HOST": host})


def test_a_damaged_configuration_is_an_error_and_not_the_default(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EngineError, match=r"cannot read"):
        docker_connector({"DOCKER_CONFIG": str(tmp_path)})


async def test_credentials_are_found_by_the_images_registry(tmp_path: Path) -> None:
    entry = {"auth": base64.b64encode(b"me:secret").decode()}
    credentials = HostCredentials(configured(tmp_path, auths={"registry.example:5000": entry}))
    (found,) = await credentials.for_image("registry.example:5000/team/app:1")
    assert (found.username, found.password) == ("me", "secret")
    assert await credentials.for_image("elsewhere.example/app:1") == ()


async def test_without_a_configuration_there_are_no_credentials(tmp_path: Path) -> None:
    assert await HostCredentials({"DOCKER_CONFIG": str(tmp_path)}).for_image("app") == ()
