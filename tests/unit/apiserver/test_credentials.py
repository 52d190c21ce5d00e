"""Credentials are made once, kept private, and renewed when they must be."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta

from cluster.apiserver.credentials import ensure_credentials, write_admin_kubeconfig
from cluster.base.pki import names_of
from cluster.client.kubeconfig import load_kubeconfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_second_start_reads_what_the_first_made(tmp_path):
    first = ensure_credentials(tmp_path / "pki", ["localhost"], now=NOW)
    assert ensure_credentials(tmp_path / "pki", ["localhost"], now=NOW) == first


def test_keys_are_readable_by_their_owner_only(tmp_path):
    ensure_credentials(tmp_path / "pki", ["localhost"], now=NOW)
    keys = list((tmp_path / "pki").glob("*.key"))
    assert len(keys) == 3
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
