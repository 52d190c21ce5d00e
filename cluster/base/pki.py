"""Keys and certificates: a CA, the certificates it signs, and when to renew them.  ECDSA P-256 throughout.

Handshakes dominate short commands; P-256 costs half of RSA-2048 on the server's side.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME: Final = timedelta(days=3650)
LEAF_LIFETIME: Final = timedelta(days=365)
CLOCK_SKEW: Final = timedelta(minutes=5)
"""Certificates start this much in the past, for clients whose clocks lag."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


def create_ca(common_name: str, *, now: datetime) -> KeyPair:
    """A self-signed authority that may sign leaf certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        _builder(name, name, key.public_key(), now=now, lifetime=CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue_serving(ca: KeyPair, common_name: str, names: Sequence[str], *, now: datetime) -> KeyPair:
    """A server's certificate for `names`: DNS names and IP addresses, told apart by their form."""
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    return _issue(
        ca,
        common_name,
        (),
        now=now,
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
        alternatives=x509.SubjectAlternativeName(alternatives),
    )


def issue_client(ca: KeyPair, user: str, groups: Sequence[str], *, now: datetime) -> KeyPair:
    """A client's certificate: the common name is the user, each organization a group."""
    return _issue(ca, user, groups, now=now, usage=ExtendedKeyUsageOID.CLIENT_AUTH, alternatives=None)


def create_signing_key() -> bytes:
    """A private key for signing tokens, PEM."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def needs_renewal(certificate: bytes, *, now: datetime, share_left: float = 1 / 3) -> bool:
    """Less than that share of its life is left, or it is not valid yet."""
    parsed = x509.load_pem_x509_certificate(certificate)
    life = parsed.not_valid_after_utc - parsed.not_valid_before_utc
    return now > parsed.not_valid_after_utc - life * share_left or now < parsed.not_valid_before_utc


def end_of(certificate: bytes) -> datetime:
    """The last instant at which it is valid."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def user_of(certificate: bytes) -> str:
    """Whom a client certificate names: its common name, or nothing.  Raises ValueError for what is no certificate."""
    names = x509.load_pem_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def names_of(certificate: bytes) -> frozenset[str]:
    """The DNS names and addresses a serving certificate covers."""
    parsed = x509.load_pem_x509_certificate(certificate)
    try:
        alternatives = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(
        [*alternatives.get_values_for_type(x509.DNSName), *map(str, alternatives.get_values_for_type(x509.IPAddress))]
    )


def _issue(
    ca: KeyPair,
    common_name: str,
    organizations: Sequence[str],
    *,
    now: datetime,
    usage: x509.ObjectIdentifier,
    alternatives: x509.SubjectAlternativeName | None,
) -> KeyPair:
    ca_certificate = x509.load_pem_x509_certificate(ca.certificate)
    ca_key = serialization.load_pem_private_key(ca.key, password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the CA's key is not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
        + [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )
    builder = (
        _builder(subject, ca_certificate.subject, key.public_key(), now=now, lifetime=LEAF_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if alternatives is not None:
        builder = builder.add_extension(alternatives, critical=False)
    return _pair(builder.sign(ca_key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, *, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
