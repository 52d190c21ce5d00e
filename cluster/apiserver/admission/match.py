"""Which requests a webhook or an admission policy is asked about: rules, namespace and object selectors, matchPolicy.

Pure but for two look-ups in the server's own state.  Upstream: apiserver/pkg/admission/plugin/webhook/predicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster.apiserver.admission.api import Attributes
from cluster.apiserver.state import State, TableId
from cluster.machinery.objects import Key, Obj, labels_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import EVERYTHING, Selector, selector_of
from cluster.resources.catalog import Catalog, Descriptor

GROUP = "admissionregistration.k8s.io"
EXEMPT = frozenset(
    (
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    )
)
"""What nobody is asked about, so that a configuration that refuses everything can still be removed."""

_NAMESPACES = TableId("", "namespaces")


@dataclass(frozen=True, slots=True)
class Rule:
    """A RuleWithOperations; `names` (NamedRuleWithOperations) empty: all."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: frozenset[str]
    scope: str = "*"
    names: frozenset[str] = frozenset()

    def matches(self, attributes: Attributes, resource: Resource) -> bool:
        """Whether the rule names the request, taken as one for `resource`."""
        return (
            _named(self.operations, attributes.operation)
            and _named(self.groups, resource.group)
            and _named(self.versions, resource.version)
            and self._matches_resource(resource.plural, attributes.subresource)
            and self._matches_scope(attributes)
            and (not self.names or attributes.key.name in self.names)
        )

    def _matches_resource(self, plural: str, subresource: str) -> bool:
        if not subresource:
            return not self.resources.isdisjoint(("*", "*/*", plural))
        return not self.resources.isdisjoint(("*/*", f"{plural}/*", f"*/{subresource}", f"{plural}/{subresource}"))

    def _matches_scope(self, attributes: Attributes) -> bool:
        if self.scope == "*":
            return True
        return attributes.descriptor.resource.namespaced is (self.scope == "Namespaced")


@dataclass(frozen=True, slots=True)
class Criteria:
    """When somebody is asked: a rule matches, none of `excluded` does, and both selectors do."""

    rules: Sequence[Rule]
    excluded: Sequence[Rule] = ()
    namespaces: Selector = EVERYTHING
    objects: Selector = EVERYTHING
    is_exact: bool = False


def criteria_of(obj: Obj) -> Criteria:
    """Of a webhook (`rules`) or a policy's match resources (`resourceRules`, `excludeResourceRules`), defaulted.

    Raises SelectorError.
    """
    return Criteria(
        rules=tuple(_rules_of(obj.get("rules") or obj.get("resourceRules") or ())),
        excluded=tuple(_rules_of(obj.get("excludeResourceRules") or ())),
        namespaces=selector_of(obj.get("namespaceSelector") or {}),
        objects=selector_of(obj.get("objectSelector") or {}),
        is_exact=obj.get("matchPolicy") == "Exact",
    )


class Matcher:
    """Keeps which resources are the same objects for one generation of the catalogue."""

    def __init__(self, state: State, catalog: Catalog) -> None:
        self._state = state
        self._catalog = catalog
        self._generation = -1
        self._equivalents: dict[Resource, list[Descriptor]] = {}

    def match(self, criteria: Criteria, attributes: Attributes) -> Descriptor | None:
        """In which version the request matches: its own or, unless exact, another of the same objects; None: not."""
        own = attributes.descriptor
        if own.resource.group == GROUP and own.resource.plural in EXEMPT:
            return None
        if not criteria.namespaces.is_empty and not self._matches_namespace(criteria.namespaces, attributes):
            return None
        if not criteria.objects.is_empty and not _matches_object(criteria.objects, attributes):
            return None
        if self._first(criteria.excluded, attributes, is_exact=criteria.is_exact) is not None:
            return None
        return self._first(criteria.rules, attributes, is_exact=criteria.is_exact)

    def _first(self, rules: Sequence[Rule], attributes: Attributes, *, is_exact: bool) -> Descriptor | None:
        own = attributes.descriptor
        if any(rule.matches(attributes, own.resource) for rule in rules):
            return own
        if is_exact or not rules:
            return None
        for rule in rules:
            for other in self._others(own):
                if attributes.subresource and attributes.subresource not in other.resource.subresources:
                    continue
                if rule.matches(attributes, other.resource):
                    return other
        return None

    def _others(self, own: Descriptor) -> Iterator[Descriptor]:
        if self._generation != self._catalog.generation:
            self._equivalents.clear()
            for descriptor in self._catalog:
                self._equivalents.setdefault(descriptor.storage, []).append(descriptor)
            self._generation = self._catalog.generation
        return (one for one in self._equivalents.get(own.storage, ()) if one is not own)

    def _matches_namespace(self, selector: Selector, attributes: Attributes) -> bool:
        resource = attributes.descriptor.resource
        if not resource.namespaced:
            # A Namespace is selected by its own labels, everything else without a namespace always is.
            is_namespace = resource.plural == "namespaces" and not resource.group
            return not is_namespace or selector.matches(labels_of(attributes.obj))
        row = self._state.table(_NAMESPACES).get(Key("", attributes.key.namespace))
        labels: Mapping[str, str] = {} if row is None else row.labels
        return selector.matches(labels)


def _matches_object(selector: Selector, attributes: Attributes) -> bool:
    if attributes.operation == "CONNECT":
        return False  # options have no labels
    old = attributes.old
    if old is not None and selector.matches(labels_of(old)):
        return True
    return attributes.operation != "DELETE" and selector.matches(labels_of(attributes.obj))


def _rules_of(rules: Sequence[Obj]) -> Iterator[Rule]:
    for rule in rules:
        yield Rule(
            operations=frozenset(rule.get("operations") or ()),
            groups=frozenset(rule.get("apiGroups") or ()),
            versions=frozenset(rule.get("apiVersions") or ()),
            resources=frozenset(rule.get("resources") or ()),
            scope=rule.get("scope") or "*",
            names=frozenset(rule.get("resourceNames") or ()),
        )


def _named(words: frozenset[str], word: str) -> bool:
    return "*" in words or word in words
