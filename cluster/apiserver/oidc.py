"""People log in with tokens of an OpenID Connect provider: ID tokens, verified with the provider's published keys.

The keys are fetched in the background, never while a request waits: a token signed with a key that is not known yet is
refused and makes the keys be fetched again.  A provider that does not answer leaves the last keys in force.
Upstream: apiserver/plugin/pkg/authenticator/token/oidc.  OpenID Connect Core 1.0, Discovery 1.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import orjson
from loguru import logger

from cluster.apiserver.http import Identity
from cluster.apiserver.jwt import PublicKey, Token, key_of_jwk
from cluster.base.clock import Clock
from cluster.base.http_client import HttpError
from cluster.machinery.errors import Unauthorized

REFRESH_S = 600.0
RETRY_S = 10.0
"""Between two fetches at least, whatever tokens come."""
KEYS_MAX = 64
GROUPS_MAX = 512
CLOCK_SKEW_S = 30.0
RESERVED = "system:"
DISCOVERY = "/.well-known/openid-configuration"

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]
"""The body behind an https URL.  Raises OSError, HttpError; ValueError for a URL or an answer that will not do."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """As upstream's --oidc-* flags.  Prefixes keep the provider's names apart from the cluster's own."""

    issuer: str
    client_id: str
    username_claim: str = "sub"
    username_prefix: str = ""
    groups_claim: str = ""
    groups_prefix: str = ""

    @property
    def prefix(self) -> str:
        """Of names: as set, `-` is none; unset, the issuer and `#`, except for e-mail addresses."""
        if self.username_prefix:
            return "" if self.username_prefix == "-" else self.username_prefix
        return "" if self.username_claim == "email" else f"{self.issuer}#"


class Oidc:
    def __init__(self, settings: OidcSettings, *, fetch: Fetch, clock: Clock) -> None:
        self._settings = settings
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, PublicKey] = {}
        self._wanted = asyncio.Event()

    @property
    def issuer(self) -> str:
        return self._settings.issuer

    async def run(self) -> None:
        """Keep the provider's keys, until cancelled."""
        while True:
            self._wanted.clear()
            try:
                await self.refresh()
            except (OSError, HttpError, ValueError) as error:
                logger.warning("the identity provider's keys cannot be fetched", source=self.issuer, error=str(error))
            await self._clock.sleep(RETRY_S)
            sleep = asyncio.ensure_future(self._clock.sleep(RETRY_S if not self._keys else REFRESH_S))
            wanted = asyncio.ensure_future(self._wanted.wait())
            try:
                await asyncio.wait((sleep, wanted), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiting in (sleep, wanted):
                    waiting.cancel()
                    with suppress(asyncio.CancelledError):
                        await waiting

    async def refresh(self) -> None:
        """Raises OSError, HttpError, ValueError."""
        document = _object(await self._fetch(self.issuer.rstrip("/") + DISCOVERY))
        if document.get("issuer") != self.issuer:
            raise ValueError("the discovery document is another issuer's")
        address = document.get("jwks_uri")
        if not isinstance(address, str) or not address.startswith("https://"):
            raise ValueError("the discovery document names no https jwks_uri")
        found: dict[str, PublicKey] = {}
        listed = _object(await self._fetch(address)).get("keys")
        for number, jwk in enumerate(listed[:KEYS_MAX] if isinstance(listed, list) else ()):
            if (key := key_of_jwk(jwk)) is not None:
                found[str(jwk.get("kid") or f"#{number}")] = key
        if not found:
            raise ValueError("no key for RS256 or ES256 is published")
        if list(found) != list(self._keys):
            logger.info("the identity provider's keys were fetched", source=self.issuer, count=len(found))
        self._keys = found

    def verify(self, token: Token) -> Identity:
        """Whose ID token it is.  Raises Unauthorized."""
        settings, claims = self._settings, token.claims
        self._check_signature(token)
        if claims.get("iss") != settings.issuer:
            raise Unauthorized("the token has another issuer")
        audience = claims.get("aud")
        if settings.client_id not in (audience if isinstance(audience, list) else (audience,)):
            raise Unauthorized("the token is for another client")
        now_s = self._clock.now().timestamp()
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not _is_number(expires) or not _is_number(begins):
            raise Unauthorized("the token does not say when it is valid")
        if now_s >= expires + CLOCK_SKEW_S or now_s < begins - CLOCK_SKEW_S:
            raise Unauthorized("the token is not valid now")
        return Identity(self._name(claims), tuple(self._groups(claims)))

    def _check_signature(self, token: Token) -> None:
        known = self._keys.get(token.key_id)
        if known is None:
            self._wanted.set()
        candidates = [known] if known is not None else [] if token.key_id else list(self._keys.values())
        if not any(token.is_signed_by(key) for key in candidates):
            raise Unauthorized("the token is not signed by a key of its issuer")

    def _name(self, claims: Mapping[str, Any]) -> str:
        claim = self._settings.username_claim
        name = claims.get(claim)
        if not isinstance(name, str) or not name or not name.isprintable():
            raise Unauthorized(f"the token has no name in the claim {claim}")
        if claim == "email" and claims.get("email_verified", True) is not True:
            raise Unauthorized("the e-mail address is not verified")
        name = self._settings.prefix + name
        if name.startswith(RESERVED):
            raise Unauthorized("names that begin with system: are not a provider's to give")
        return name

    def _groups(self, claims: Mapping[str, Any]) -> list[str]:
        claim = self._settings.groups_claim
        groups = claims.get(claim, ()) if claim else ()
        listed = [groups] if isinstance(groups, str) else groups
        if not isinstance(listed, list | tuple) or not all(isinstance(group, str) for group in listed):
            raise Unauthorized(f"the claim {claim} is no list of names")
        if len(listed) > GROUPS_MAX:
            raise Unauthorized(f"the claim {claim} lists more than {GROUPS_MAX} names")
        prefixed = [self._settings.groups_prefix + group for group in listed]
        # Superusers and components are named by this cluster, whatever a provider says.
        return [group for group in prefixed if group and not group.startswith(RESERVED)]


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _object(body: bytes) -> Mapping[str, Any]:
    document = orjson.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the answer is no JSON object")
    return document
