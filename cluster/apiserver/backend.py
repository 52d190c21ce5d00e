"""What handlers work with: the parts of one API server, made once by `apiserver`."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.apiserver.authn import CertificateAndTokenAuthenticator
from cluster.apiserver.authz import Authorizer
from cluster.apiserver.conversion import Converter
from cluster.apiserver.converted import ConvertedTables
from cluster.apiserver.dialing import ClientPool
from cluster.apiserver.node_stats import NodeStatsCache
from cluster.apiserver.registry import Registry
from cluster.apiserver.service_resolver import ServiceResolver
from cluster.apiserver.state import State
from cluster.apiserver.tokens import ServiceAccountTokens
from cluster.apiserver.webhook_client import WebhookClient
from cluster.base.clock import Clock
from cluster.client.node_channel import NodeChannels
from cluster.resources.catalog import Catalog
from cluster.store.api import Store


@dataclass(frozen=True, slots=True)
class Backend:
    store: Store
    state: State
    catalog: Catalog
    clock: Clock
    registry: Registry
    tokens: ServiceAccountTokens
    authorizer: Authorizer
    authenticator: CertificateAndTokenAuthenticator
    node_channels: NodeChannels
    resolver: ServiceResolver
    proxied: ClientPool
    webhook_client: WebhookClient
    converter: Converter
    converted: ConvertedTables
    node_stats: NodeStatsCache
