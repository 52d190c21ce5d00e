"""What admission plugins see and how they run: every mutation first, then every check, in one literal order.

Plugins are synchronous: they decide from the object and the server's own state, and wait for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from cluster.apiserver.call import Call
from cluster.apiserver.http import Identity
from cluster.base.values import frozen
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key, Obj
from cluster.resources.catalog import Descriptor

ANNOTATIONS_MAX, ANNOTATION_KEY_MAX, ANNOTATION_MAX = 64, 512, 10 * 1024
"""Annotations of one audit record, and the characters of a key and a text; the rest is cut."""

Operation: TypeAlias = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@frozen
class Attributes:
    """One request to be admitted.

    `obj` is the new state (of DELETE and CONNECT the present one), `old` the one before (None: new).  `call` is the request
    it came with; `dry_run` says that nothing will be written.
    """

    operation: Operation
    descriptor: Descriptor
    key: Key
    subresource: str
    user: Identity
    obj: Obj
    old: Obj | None
    warnings: list[str]
    call: Call | None = None
    dry_run: bool = False

    @property
    def group_resource(self) -> tuple[str, str]:
        return (self.descriptor.resource.group, self.descriptor.resource.plural)


def annotate(attributes: Attributes, key: str, text: str) -> None:
    """Annotate the audit record of the request; the first text of a key stays."""
    call = attributes.call
    if call is not None and len(call.audit) < ANNOTATIONS_MAX:
        call.audit.setdefault(key[:ANNOTATION_KEY_MAX], text[:ANNOTATION_MAX])


class Plugin(Protocol):
    """Raises ApiError to refuse."""

    def mutate(self, attributes: Attributes) -> Obj:
        """The object to go on with; `attributes.obj` itself when there is nothing to add."""
        ...

    def validate(self, attributes: Attributes) -> None: ...


class Mutating:
    """Base of plugins that only mutate."""

    def validate(self, attributes: Attributes) -> None:
        return None


class Validating:
    """Base of plugins that only check."""

    def mutate(self, attributes: Attributes) -> Obj:
        return attributes.obj


class Admission:
    """The plugins as one: `plugins` in the order they run."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        # A plugin that only does one half is left out of the other: two calls less per plugin and write.
        self._mutating = tuple(plugin for plugin in plugins if not isinstance(plugin, Validating))
        self._validating = tuple(plugin for plugin in plugins if not isinstance(plugin, Mutating))

    def mutate(self, attributes: Attributes) -> Obj:
        for plugin in self._mutating:
            obj = plugin.mutate(attributes)
            if obj is not attributes.obj:
                attributes = replaced(attributes, obj)
        return attributes.obj

    def validate(self, attributes: Attributes) -> None:
        for plugin in self._validating:
            plugin.validate(attributes)


def replaced(attributes: Attributes, obj: Obj) -> Attributes:
    return changed(attributes, obj, attributes.old)


def changed(attributes: Attributes, obj: Obj, old: Obj | None) -> Attributes:
    return Attributes(
        attributes.operation,
        attributes.descriptor,
        attributes.key,
        attributes.subresource,
        attributes.user,
        obj,
        old,
        attributes.warnings,
        attributes.call,
        attributes.dry_run,
    )


def forbidden(attributes: Attributes, why: str) -> Forbidden:
    """The refusal of this write, worded as upstream words it (apiserver/pkg/admission NewForbidden)."""
    resource = attributes.descriptor.resource
    name = attributes.key.name
    return Forbidden(
        f'{resource.qualified_name} "{name}" is forbidden: {why}', group=resource.group, kind=resource.plural, name=name
    )


def is_new_pod(attributes: Attributes) -> bool:
    """A pod is created: what most plugins for pods look at."""
    return attributes.operation == "CREATE" and attributes.group_resource == ("", "pods") and not attributes.subresource
