"""Pods stay five minutes on a node that stopped answering, unless they say otherwise.

Upstream: plugin/pkg/admission/defaulttolerationseconds.
"""

from __future__ import annotations

from typing import Any

from cluster.apiserver.admission.api import Attributes, Mutating, is_new_pod
from cluster.machinery.objects import Obj, field_of, with_field

TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
TOLERATED_S = 300


class DefaultTolerationSeconds(Mutating):
    def mutate(self, attributes: Attributes) -> Obj:
        if not is_new_pod(attributes):
            return attributes.obj
        present: list[Any] = list(field_of(attributes.obj, "spec", "tolerations", default=()))
        added = [
            {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_S}
            for taint in TAINTS
            if not any(
                toleration.get("key") in (taint, "", None) and toleration.get("effect") in ("NoExecute", "", None)
                for toleration in present
            )
        ]
        return with_field(attributes.obj, ("spec", "tolerations"), present + added) if added else attributes.obj
