"""What every node must know of its cluster: one ConfigMap that the server keeps and its nodes read.

A joining host needs an identity and nothing else: ranges, zone and the cluster's id come from here.
Upstream's cousin: the `kubelet-config` ConfigMap of kubeadm.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.client.transport import Transport
from cluster.machinery.errors import AlreadyExists
from cluster.machinery.objects import Key
from cluster.resources.builtin import CONFIG_MAPS

NODE_SETTINGS = Key("kube-system", "node-settings")


async def publish_node_settings(transport: Transport, values: Mapping[str, str]) -> None:
    """Make the ConfigMap say `values` and nothing else.  Raises ApiError."""
    wanted = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": NODE_SETTINGS.namespace, "name": NODE_SETTINGS.name},
        "data": dict(values),
    }
    try:
        await transport.create(CONFIG_MAPS, wanted)
    except AlreadyExists:
        live = await transport.get(CONFIG_MAPS, NODE_SETTINGS)
        if live.get("data") != wanted["data"]:
            await transport.update(CONFIG_MAPS, {**live, "data": wanted["data"]})


async def fetch_node_settings(transport: Transport) -> Mapping[str, str]:
    """What the server says.  Raises ApiError."""
    live = await transport.get(CONFIG_MAPS, NODE_SETTINGS)
    return {str(name): str(value) for name, value in (live.get("data") or {}).items()}
