"""What others need to verify this cluster's service account tokens: the issuer's discovery document and its public key.

Upstream: pkg/routes/openidmetadata.go.  OpenID Connect Discovery 1.0, RFC 7517.
"""

from __future__ import annotations

import orjson

from cluster.apiserver.http import ApiRequest, Reply
from cluster.apiserver.tokens import ServiceAccountTokens
from cluster.machinery.errors import MethodNotAllowed

CONFIGURATION = "/.well-known/openid-configuration"
KEYS = "/openid/v1/jwks"
_CACHED = {"Cache-Control": "public, max-age=3600"}


class IssuerDocuments:
    def __init__(self, tokens: ServiceAccountTokens) -> None:
        configuration = {
            "issuer": tokens.issuer,
            "jwks_uri": tokens.issuer.rstrip("/") + KEYS,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        keys = {"keys": [tokens.public_jwk()]}
        self._replies = {
            CONFIGURATION: Reply(body=orjson.dumps(configuration), headers=_CACHED),
            KEYS: Reply(body=orjson.dumps(keys), headers=_CACHED, content_type="application/jwk-set+json"),
        }

    def handle(self, request: ApiRequest) -> Reply | None:
        """Raises MethodNotAllowed."""
        reply = self._replies.get(request.path)
        if reply is not None and request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        return reply
