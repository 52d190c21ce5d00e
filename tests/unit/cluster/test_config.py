"""Settings are checked before anything is done with them."""

from __future__ import annotations

import socket

import pytest

from cluster.config import SettingsError, create_settings, free_port, load_settings


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
