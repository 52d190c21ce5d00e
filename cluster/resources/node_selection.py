"""Which nodes a pod asks for: `nodeSelector` and required node affinity.

Pure.  Upstream: component-helpers/scheduling/corev1/nodeaffinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.machinery.objects import Obj, field_of


def selects_node(pod_spec: Obj, *, labels: Mapping[str, str], name: str) -> bool:
    """The node of that name and with those labels is one that the pod may run on."""
    selector: Mapping[str, str] = pod_spec.get("nodeSelector") or {}
    required = field_of(pod_spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return selector.items() <= labels.items() and (
        required is None
        or any(term_holds(term, labels=labels, name=name) for term in required.get("nodeSelectorTerms") or ())
    )


def term_holds(term: Obj, *, labels: Mapping[str, str], name: str) -> bool:
    """All expressions of a NodeSelectorTerm hold; a term without any matches nothing."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_holds(expression, labels) for expression in expressions) and all(
        _holds(expression, {"metadata.name": name}) for expression in fields
    )


def _holds(expression: Obj, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.get("key", ""))
    values: Sequence[str] = expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            actual, bound = _number(value), _number(values[0] if len(values) == 1 else None)
            if actual is None or bound is None:
                return False
            return actual > bound if operator == "Gt" else actual < bound
        case _:
            return False


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
