"""Fields that name other objects follow these when their names changed.

Upstream: kustomize api/internal/accumulator/namereferencetransformer.go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.render.kustomize.fields import REFERENCES, Field
from reconciler.render.kustomize.resource import CLUSTER_SCOPED, BuildError, Built, places

_ROLE_KINDS = ("Role", "ClusterRole")


def follow_names(built: Sequence[Built]) -> None:
    """Raises BuildError where a name could mean two objects."""
    named: dict[tuple[str, str], list[Built]] = defaultdict(list)
    for each in built:
        for name in sorted({one.name for one in each.ids}):
            named[each.id.gvk.kind, name].append(each)
    for referrer in built:
        gvk = referrer.id.gvk
        for referred in REFERENCES:
            for field in referred.fields:
                if field.fits(gvk):
                    for holder, key in _names(referrer, field, referred.kind):
                        _follow(referrer, holder, key, referred.kind, named)


def _names(referrer: Built, field: Field, kind: str) -> Iterator[tuple[Any, Any]]:
    """Every place below the field where a name stands, as (mapping, key) or (list, index)."""
    path = field.path
    for holder, key in places(referrer.obj, path):
        value = holder[key]
        if path[-1] == "name" and path[-2] == "roleRef" and holder.get("kind") != kind:
            continue
        if path[-1] == "name" and path[-2] == "scaleTargetRef" and holder.get("kind") != kind:
            continue
        if isinstance(value, str):
            yield holder, key
        elif isinstance(value, dict):
            yield value, "name"
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, str):
                    yield value, index
                elif isinstance(item, dict) and item.get("kind", kind) == kind:
                    yield item, "name"


def _follow(
    referrer: Built, holder: Any, key: Any, kind: str, named: Mapping[tuple[str, str], Sequence[Built]]
) -> None:
    name = holder.get(key) if isinstance(holder, dict) else holder[key]
    if not isinstance(name, str):
        return
    found: Sequence[Built] = list(named.get((kind, name), ()))
    has_namespace = key == "name" and isinstance(holder, dict) and isinstance(holder.get("namespace"), str)
    if has_namespace:
        wanted = holder["namespace"] or "default"
        found = [each for each in found if any((one.namespace or "default") == wanted for one in each.ids)]
    elif kind not in CLUSTER_SCOPED and referrer.id.gvk.kind not in CLUSTER_SCOPED:
        mine = {one.effective.namespace for one in referrer.ids}
        found = [each for each in found if mine & {one.effective.namespace for one in each.ids}]
    found = _nearest(referrer, found)
    if len({each.id.name for each in found}) > 1:
        raise BuildError(f"{referrer.id.gvk.kind} {referrer.id.name}: {kind} {name} could be several", referrer.origin)
    if not found:
        return
    holder[key] = found[0].id.name
    is_subject = isinstance(holder, dict) and holder.get("kind") == "ServiceAccount"
    if (has_namespace or is_subject) and found[0].id.namespace:
        holder["namespace"] = found[0].id.namespace


def _nearest(referrer: Built, found: Sequence[Built]) -> Sequence[Built]:
    """Of several, those that came the same way: the same prefixes and suffixes, or the same namespace."""
    if len(found) > 1:
        same = [each for each in found if each.prefixes == referrer.prefixes and each.suffixes == referrer.suffixes]
        found = same or found
    if len(found) > 1:
        found = [each for each in found if each.id.namespace == referrer.id.namespace] or found
    return found
