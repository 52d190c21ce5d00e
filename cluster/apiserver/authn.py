"""Who is asking: client certificates, bearer tokens, or nobody in particular.

The adapter verifies certificates against our CA before they come here, and memoises answers per connection and header.
Tokens: static ones given by the operator, service-account tokens that this server signed (`tokens`), and ID tokens of an
identity provider (`oidc`).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.apiserver.authz import ANONYMOUS, AUTHENTICATED
from cluster.apiserver.http import Identity
from cluster.apiserver.jwt import parse_token
from cluster.apiserver.oidc import Oidc
from cluster.apiserver.tokens import ServiceAccountTokens
from cluster.machinery.errors import Unauthorized


class CertificateAndTokenAuthenticator:
    """See `http.Authenticator`.  `static_tokens` maps token to identity; neither is ever printed."""

    def __init__(self, tokens: ServiceAccountTokens, static_tokens: Mapping[str, Identity], oidc: Oidc | None) -> None:
        self._tokens = tokens
        self._static_tokens = tuple(static_tokens.items())
        self._oidc = oidc

    def authenticate(self, headers: Mapping[str, str], peer_certificate: bytes | None) -> Identity | None:
        """A certificate wins over a token; bad credentials are never taken for none."""
        if peer_certificate is not None:
            return identity_of_certificate(peer_certificate)
        authorization = headers.get("authorization", "")
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        return self.identity_of_token(token)

    def is_current(self, identity: Identity) -> bool:
        return self._tokens.is_current(identity)

    def identity_of_token(self, token: str) -> Identity | None:
        found: Identity | None = None
        for known, identity in self._static_tokens:
            # Every comparison runs, in constant time, so that timing tells nothing of what is nearly right.
            if hmac.compare_digest(known.encode(), token.encode()):
                found = identity
        if found is not None:
            return authenticated(found)
        try:
            parsed = parse_token(token)
            # Whom it says it is from only chooses who verifies it.
            if self._oidc is not None and parsed.claims.get("iss") == self._oidc.issuer != self._tokens.issuer:
                return authenticated(self._oidc.verify(parsed))
            return self._tokens.verify(parsed)
        except Unauthorized:
            return None


def authenticated(identity: Identity) -> Identity:
    """With the group that everybody has who proved who they are."""
    if AUTHENTICATED in identity.groups:
        return identity
    return Identity(identity.name, (*identity.groups, AUTHENTICATED), identity.uid, identity.extra)


def identity_of_certificate(der: bytes) -> Identity | None:
    """CN is the user, each O a group (upstream: request/x509 CommonNameUserConversion).  None: not one for clients."""
    certificate = x509.load_der_x509_certificate(der)
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        return None
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not names[0].value:
        return None
    groups = [str(group.value) for group in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return authenticated(Identity(str(names[0].value), tuple(groups)))
