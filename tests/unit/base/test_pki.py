"""The certificates we make are ones that clients accept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

from cluster.base.pki import create_ca, issue_client, issue_serving, names_of, needs_renewal

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_serving_certificate_names_hosts_and_addresses():
    ca = create_ca("test-ca", now=NOW)
    pair = issue_serving(ca, "api", ["localhost", "127.0.0.1", "kubernetes.default.svc"], now=NOW)
    assert names_of(pair.certificate) == {"localhost", "127.0.0.1", "kubernetes.default.svc"}
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.certificate))


def test_a_client_certificate_carries_user_and_groups():
    pair = issue_client(create_ca("test-ca", now=NOW), "jane", ["dev", "ops"], now=NOW)
    subject = x509.load_pem_x509_certificate(pair.certificate).subject
    assert [a.value for a in subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)] == ["jane"]
    assert [a.value for a in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)] == ["dev", "ops"]


def test_a_certificate_is_renewed_in_the_last_third_of_its_life():
    pair = issue_client(create_ca("test-ca", now=NOW), "jane", [], now=NOW)
    assert not needs_renewal(pair.certificate, now=NOW + timedelta(days=200))
    assert needs_renewal(pair.certificate, now=NOW + timedelta(days=300))


def test_a_key_is_not_shown_when_printed():
    assert b"PRIVATE" not in repr(create_ca("test-ca", now=NOW)).encode()
