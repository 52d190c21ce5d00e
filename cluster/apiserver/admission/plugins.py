"""The plugins in the order they run."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.apiserver.admission.api import Plugin
from cluster.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from cluster.apiserver.state import State


def plugins(state: State) -> Sequence[Plugin]:
    """Upstream's order: what a namespace allows first, mutations before the checks that see their result."""
    return (NamespaceLifecycle(state),)
