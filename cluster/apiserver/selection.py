"""Which rows a list or watch selects: label and field selectors compiled to one test on a row.

Names, namespaces, nodes and phases are indexed; any other selectable field needs the decoded object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cluster.apiserver.call import Call
from cluster.apiserver.state import Row, State, Table
from cluster.machinery.errors import BadRequest
from cluster.machinery.objects import Key
from cluster.machinery.selectors import (
    EVERYTHING,
    FieldRequirement,
    Selector,
    SelectorError,
    parse_field_selector,
    parse_selector,
)
from cluster.resources.catalog import Descriptor

_INDEXED: dict[str, Callable[[Row], str]] = {
    "metadata.name": lambda row: row.key.name,
    "metadata.namespace": lambda row: row.key.namespace,
    "spec.nodeName": lambda row: row.node,
    "status.phase": lambda row: row.phase,
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or watch asks for."""

    namespace: str = ""
    labels: Selector = EVERYTHING
    fields: tuple[FieldRequirement, ...] = ()

    @property
    def has_selectors(self) -> bool:
        return bool(self.fields) or not self.labels.is_empty

    def equals(self, path: str) -> str | None:
        """The one value `path` must have, if the selection says so."""
        return next((f.value for f in self.fields if f.path == path and not f.negated), None)


def selection_of(call: Call) -> Selection:
    """Raises BadRequest for a selector that cannot be parsed or a field that cannot be selected by."""
    request = call.request
    labels_text, fields_text = request.parameter("labelSelector"), request.parameter("fieldSelector")
    try:
        labels = parse_selector(labels_text) if labels_text else EVERYTHING
        fields = parse_field_selector(fields_text) if fields_text else ()
    except SelectorError as error:
        raise BadRequest(f"unable to parse the selector: {error}") from None
    for requirement in fields:
        if requirement.path not in call.descriptor.selectable:
            raise BadRequest(
                f'Unable to find "{call.descriptor.resource.api_version}, Resource={call.descriptor.resource.plural}" '
                f'that match label selector "{labels_text}", field selector "{fields_text}": '
                f'"{requirement.path}" is not a known field selector'
            )
    namespace = call.route.namespace if call.descriptor.resource.namespaced else ""
    return Selection(namespace, labels, fields)


def matcher_of(selection: Selection, state: State, descriptor: Descriptor) -> Callable[[Row], bool] | None:
    """The test for a row, or None when every row passes."""
    tests: list[Callable[[Row], bool]] = []
    if selection.namespace:
        namespace = selection.namespace
        tests.append(lambda row: row.key.namespace == namespace)
    tests.extend(_field_test(requirement, state, descriptor) for requirement in selection.fields)
    if not selection.labels.is_empty:
        labels = selection.labels
        tests.append(lambda row: labels.matches(row.labels))
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda row: all(test(row) for test in tests)


def _field_test(requirement: FieldRequirement, state: State, descriptor: Descriptor) -> Callable[[Row], bool]:
    value, negated = requirement.value, requirement.negated
    read = _INDEXED.get(requirement.path)
    if read is None:
        of_obj = descriptor.selectable[requirement.path]

        def read(row: Row) -> str:
            return of_obj(descriptor.from_storage(state.obj(row)))

    read_value = read
    return lambda row: (read_value(row) == value) != negated


def candidates(selection: Selection, table: Table) -> Sequence[Row]:
    """The fewest rows an index narrows the selection to, in the store's key order; they still need the matcher."""
    name = selection.equals("metadata.name")
    namespace = selection.namespace or selection.equals("metadata.namespace") or ""
    if name is not None and (row := table.get(Key(namespace, name))) is not None:
        return (row,)
    if (node := selection.equals("spec.nodeName")) is not None:
        return _by_path(table.by_node.get(node, {}).values())
    return table.ordered(namespace)


def _by_path(rows: Iterable[Row]) -> Sequence[Row]:
    return sorted(rows, key=lambda row: row.path)
