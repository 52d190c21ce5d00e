"""Settings are checked before anything is done with them."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.config import SettingsError, create_settings, free_port, joined_settings, load_settings, save_settings


def test_settings_survive_a_restart(tmp_path):
    made = create_settings(tmp_path, cluster_id="abcd1234", api_port=7000, allowed_host_paths=["/srv"])
    assert load_settings(tmp_path) == made
    assert (made.kubernetes_ip, made.dns_ip) == ("10.96.0.1", "10.96.0.10")


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"runtim": "docker"}, "unknown setting 'runtim'"),
        ({"runtime": "podman"}, "neither docker nor simulated"),
        ({"pod_cidr": "10.244.0.1/16"}, "has host bits set"),
        ({"service_cidr": "10.96.0.0/28"}, "too small"),
        ({"store": "10.0.0.1:2379"}, "is not etcd://HOST:PORT"),
        ({"store": "etcd://one:2379,two"}, "'two' in .* is not HOST:PORT"),
        ({"store": "etcd://one:99999"}, "is not HOST:PORT"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path, chosen, why):
    with pytest.raises(SettingsError, match=why):
        create_settings(tmp_path, cluster_id="abcd1234", **chosen)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(SettingsError, match=r"cluster\.json is not valid JSON"):
        load_settings(tmp_path)


def test_a_taken_port_is_avoided():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port, host="127.0.0.1") != port


SHARED = {
    "cluster_id": "abcdefgh",
    "pod_cidr": "10.1.0.0/16",
    "service_cidr": "10.2.0.0/16",
    "cluster_domain": "cluster.local",
}


def test_an_agent_takes_the_clusters_settings_and_keeps_its_own(tmp_path: Path) -> None:
    first = joined_settings(tmp_path, SHARED, node_name="n1", runtime="docker")
    assert (first.shared, first.node_name, first.allow_privileged) == (SHARED, "n1", False)
    save_settings(replace(first, allow_privileged=True))
    again = joined_settings(tmp_path, SHARED | {"service_cidr": "10.3.0.0/16"}, node_name="n1", runtime="docker")
    assert (again.service_cidr, again.allow_privileged) == ("10.3.0.0/16", True)
    assert load_settings(tmp_path) == again


def test_an_agent_stays_with_its_cluster(tmp_path: Path) -> None:
    joined_settings(tmp_path, SHARED, node_name="n1", runtime="docker")
    with pytest.raises(SettingsError, match="is of the cluster abcdefgh, the server's is another1"):
        joined_settings(tmp_path, SHARED | {"cluster_id": "another1"}, node_name="n1", runtime="docker")


def test_a_server_that_says_too_little_is_not_followed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not say cluster_domain"):
        joined_settings(tmp_path, {"pod_cidr": "10.1.0.0/16"}, node_name="n1", runtime="docker")


@pytest.mark.parametrize("name", ["", "UPPER", "../up", "-a", "a/b"])
def test_a_node_has_a_name_that_a_node_may_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="node_name"):
        joined_settings(tmp_path, SHARED, node_name=name, runtime="docker")
