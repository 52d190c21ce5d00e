"""Credentials are made once, kept private, and renewed when they must be."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from loguru import logger

from cluster.apiserver.credentials import certificate_ends, ensure_credentials, write_admin_kubeconfig
from cluster.apiserver.renewal import Renewal
from cluster.base.pki import names_of
from cluster.client.kubeconfig import load_kubeconfig
from cluster.config import Settings
from cluster.machine import HttpsListener
from tests.apiservers import running
from tests.clocks import SteppedClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def records() -> Iterator[list[str]]:
    seen: list[str] = []
    sink = logger.add(lambda message: seen.append(message.record["message"]), level="WARNING")
    yield seen
    logger.remove(sink)


def test_a_second_start_reads_what_the_first_made(tmp_path):
    first = ensure_credentials(tmp_path / "pki", ["localhost"], now=NOW)
    assert ensure_credentials(tmp_path / "pki", ["localhost"], now=NOW) == first


def test_keys_are_readable_by_their_owner_only(tmp_path):
    ensure_credentials(tmp_path / "pki", ["localhost"], now=NOW)
    keys = list((tmp_path / "pki").glob("*.key"))
    assert len(keys) == 5
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)


def test_a_new_name_or_old_age_renews_the_serving_certificate_under_the_same_ca(tmp_path):
    first = ensure_credentials(tmp_path, ["localhost"], now=NOW)
    old = first.serving_certificate_file.read_bytes()
    second = ensure_credentials(tmp_path, ["localhost", "10.96.0.1"], now=NOW)
    assert "10.96.0.1" in names_of(second.serving_certificate_file.read_bytes())
    assert second.ca == first.ca
    third = ensure_credentials(tmp_path, ["localhost"], now=NOW + timedelta(days=300))
    assert third.serving_certificate_file.read_bytes() != old


def test_the_admin_kubeconfig_is_stable_and_loads(tmp_path):
    credentials = ensure_credentials(tmp_path, ["localhost"], now=NOW)
    path = tmp_path / "kubeconfig"
    for _ in range(2):
        write_admin_kubeconfig(path, credentials, directory=tmp_path, host="127.0.0.1", port=6443, name="r", now=NOW)
    before = path.stat().st_mtime_ns
    write_admin_kubeconfig(path, credentials, directory=tmp_path, host="127.0.0.1", port=6443, name="r", now=NOW)
    assert path.stat().st_mtime_ns == before
    assert load_kubeconfig(path).ca == credentials.ca.certificate


def test_each_certificate_says_when_it_ends(tmp_path):
    credentials = ensure_credentials(tmp_path, ["localhost"], now=NOW)
    write_admin_kubeconfig(
        tmp_path / "k", credentials, directory=tmp_path, host="127.0.0.1", port=6443, name="r", now=NOW
    )
    year = NOW + timedelta(days=365)
    leaves, authorities = ("admin", "apiserver", "front-proxy-client"), ("ca", "front-proxy-ca")
    assert certificate_ends(tmp_path) == {
        **dict.fromkeys(leaves, year),
        **dict.fromkeys(authorities, NOW + timedelta(days=3650)),
    }


async def test_a_running_server_renews_and_warns_of_what_it_cannot(records):
    clock, ends, noted = SteppedClock(), {"apiserver": NOW}, []
    clock.time = (NOW - timedelta(days=40)).timestamp()
    renewal = Renewal(lambda: dict(ends), note=noted.append, clock=clock)
    renewal.look()
    assert (noted, records) == ([ends], [])
    clock.time += 11 * 86_400
    renewal.look()
    assert records == ["certificate ends soon"]


async def test_what_cannot_be_read_is_told_and_tried_again(records):
    def fail():
        raise OSError("no such file")

    Renewal(fail, note=lambda ends: None, clock=SteppedClock()).look()
    assert records == ["certificates cannot be renewed"]


async def test_a_renewed_certificate_is_presented_to_the_next_client(tmp_path):
    clock = SteppedClock()
    clock.time = NOW.timestamp()
    settings = Settings(state_dir=tmp_path, cluster_id="test", node_name="n", api_port=0)
    async with running(clock=clock) as server:
        listener = HttpsListener(server, settings, clock)
        first = listener.renew()
        before = (settings.pki_dir / "apiserver.crt").read_bytes()
        kubeconfig = settings.kubeconfig.read_bytes()
        assert listener.renew() == first
        assert (settings.pki_dir / "apiserver.crt").read_bytes() == before
        clock.time += 300 * 86_400
        later = listener.renew()
        assert later["apiserver"] == later["admin"] == first["admin"] + timedelta(days=300)
        assert later["ca"] == first["ca"]
        assert settings.kubeconfig.read_bytes() != kubeconfig
