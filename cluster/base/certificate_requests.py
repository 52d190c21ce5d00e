"""PKCS #10 certificate requests: made by clients, read by whoever decides on them, signed by an authority.

Knows X.509, not Kubernetes: who may ask for which subject is for others to decide.  RFC 2986, RFC 5280.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.base.pki import CLOCK_SKEW, KeyPair

PEM_TYPE: Final = b"CERTIFICATE REQUEST"
RSA_SIZE_MIN_BITS: Final = 2048
REQUEST_SIZE_MAX_BYTES: Final = 64 * 1024

DIGITAL_SIGNATURE: Final = "digital signature"
KEY_ENCIPHERMENT: Final = "key encipherment"
CLIENT_AUTH: Final = "client auth"
SERVER_AUTH: Final = "server auth"
_EXTENDED: Final = {CLIENT_AUTH: ExtendedKeyUsageOID.CLIENT_AUTH, SERVER_AUTH: ExtendedKeyUsageOID.SERVER_AUTH}
SIGNABLE_USAGES: Final = frozenset((DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, *_EXTENDED))
"""What `sign_request` can put into a certificate."""


class BadRequestPem(ValueError):
    """It is no certificate request, or one that nothing may be made of; the message says why."""


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """What a request asks for.  `names_others` lists subject alternative names that are neither DNS names nor addresses."""

    common_name: str
    organizations: Sequence[str]
    dns_names: Sequence[str]
    addresses: Sequence[str]
    names_others: Sequence[str]


def create_request(user: str, groups: Sequence[str]) -> KeyPair:
    """A new P-256 key and a request for a client's certificate; `certificate` of the answer is the request, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        + [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return KeyPair(
        request.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def parse_request(pem: bytes) -> CertificateRequest:
    """Raises BadRequestPem."""
    request = _loaded(pem)
    names = _alternative_names(request)
    dns = [str(name.value) for name in names if isinstance(name, x509.DNSName)]
    addresses = [str(name.value) for name in names if isinstance(name, x509.IPAddress)]
    others = [str(name) for name in names if not isinstance(name, x509.DNSName | x509.IPAddress)]
    common = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    organizations = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return CertificateRequest(
        common_name=str(common[0].value) if common else "",
        organizations=tuple(str(each.value) for each in organizations),
        dns_names=tuple(dns),
        addresses=tuple(addresses),
        names_others=tuple(others),
    )


def sign_request(ca: KeyPair, pem: bytes, *, usages: Collection[str], lifetime: timedelta, now: datetime) -> bytes:
    """A leaf certificate for the request's subject, key and alternative names, PEM; it ends no later than the authority's.

    `usages` are of SIGNABLE_USAGES.  Raises BadRequestPem for a wrong signature and for keys too weak or of unknown kinds.
    """
    request = _loaded(pem)
    public_key = request.public_key()
    match public_key:
        case rsa.RSAPublicKey() if public_key.key_size < RSA_SIZE_MIN_BITS:
            raise BadRequestPem(f"RSA keys need at least {RSA_SIZE_MIN_BITS} bits, this has {public_key.key_size}")
        case rsa.RSAPublicKey() | ec.EllipticCurvePublicKey() | ed25519.Ed25519PublicKey():
            pass
        case _:
            raise BadRequestPem("the key is neither RSA, elliptic curve nor Ed25519")
    if not request.is_signature_valid:
        raise BadRequestPem("the request is not signed by its own key")
    authority = x509.load_pem_x509_certificate(ca.certificate)
    ca_key = serialization.load_pem_private_key(ca.key, password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the CA's key is not an elliptic curve key")
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(authority.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(min(now + lifetime, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    signs, enciphers = DIGITAL_SIGNATURE in usages, KEY_ENCIPHERMENT in usages
    if signs or enciphers:  # an extension without any bit makes the certificate invalid
        key_usage = x509.KeyUsage(
            digital_signature=signs,
            key_encipherment=enciphers,
            content_commitment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(key_usage, critical=True)
    if extended := [oid for usage, oid in _EXTENDED.items() if usage in usages]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if names := _alternative_names(request):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def certificate_end(pem: bytes) -> datetime:
    """When the first certificate of a chain ends.  Raises BadRequestPem when there is something else in it, or nothing."""
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise BadRequestPem("not a chain of PEM certificates") from error
    if pem.count(b"-----BEGIN") != len(chain):
        raise BadRequestPem("only CERTIFICATE blocks are allowed")
    return chain[0].not_valid_after_utc


def _loaded(pem: bytes) -> x509.CertificateSigningRequest:
    if len(pem) > REQUEST_SIZE_MAX_BYTES:
        raise BadRequestPem(f"the request is larger than {REQUEST_SIZE_MAX_BYTES} bytes")
    if b"-----BEGIN %b-----" % PEM_TYPE not in pem:
        raise BadRequestPem("PEM block type must be CERTIFICATE REQUEST")
    try:
        request = x509.load_pem_x509_csr(pem)
        request.public_key()
        _alternative_names(request)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadRequestPem("the PEM block holds no valid certificate request") from error
    return request


def _alternative_names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []
