"""Events in both groups: one set of rows, stored as core/v1, served as core/v1 and events.k8s.io/v1.

Upstream: pkg/apis/events/v1/conversion.go, pkg/apis/core/validation/events.go, pkg/printers printEvent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, not_supported, required
from cluster.machinery.names import qualified_name_errors
from cluster.machinery.objects import GroupKind, Obj, field_of, name_of, namespace_of
from cluster.machinery.timestamps import age_of
from cluster.resources.kind import Kind, text_at
from cluster.resources.printing import Column
from cluster.resources.strategy import GenericStrategy

TEXT_MAX = 128
NOTE_MAX_BYTES = 1024
TYPES = ("Normal", "Warning")

_RENAMED: Mapping[str, str] = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
"""core/v1 field names to those of events.k8s.io/v1."""
_RENAMED_BACK = {new: old for old, new in _RENAMED.items()}


def event_from_storage(event: Obj) -> Obj:
    """A core/v1 Event as events.k8s.io/v1."""
    return {**{_RENAMED.get(key, key): value for key, value in event.items()}, "apiVersion": "events.k8s.io/v1"}


def event_to_storage(event: Obj) -> Obj:
    """An events.k8s.io/v1 Event as core/v1."""
    return {**{_RENAMED_BACK.get(key, key): value for key, value in event.items()}, "apiVersion": "v1"}


class CoreEventStrategy(GenericStrategy):
    allow_create_on_update = True

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        about = (obj.get("involvedObject") or {}).get("namespace") or ""
        return tuple(_validate_namespace(about, namespace_of(obj), "involvedObject.namespace"))


class EventStrategy(GenericStrategy):
    """The newer API asks for more; an update may change the series only, so it is checked less."""

    allow_create_on_update = True

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_event(obj))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return tuple(
            invalid(field, new.get(field), "field is immutable")
            for field in (
                "regarding",
                "related",
                "reason",
                "note",
                "action",
                "reportingController",
                "reportingInstance",
                "type",
            )
            if new.get(field) != old.get(field)
        )


def _validate_namespace(about: str, namespace: str, path: str) -> Iterator[Cause]:
    """An event lies beside its object; those about cluster-scoped objects lie in `default` or `kube-system`."""
    if (about and about != namespace) or (not about and namespace not in ("default", "kube-system", "")):
        yield invalid(path, about, "does not match event.namespace")


def _validate_event(event: Obj) -> Iterator[Cause]:
    about = (event.get("regarding") or {}).get("namespace") or ""
    yield from _validate_namespace(about, namespace_of(event), "regarding.namespace")
    if not event.get("eventTime"):
        yield required("eventTime")
    controller = event.get("reportingController") or ""
    if not controller:
        yield required("reportingController")
    else:
        for why in qualified_name_errors(controller):
            yield invalid("reportingController", controller, why)
    for field in ("reportingInstance", "action", "reason"):
        text = event.get(field) or ""
        if not text:
            yield required(field)
        elif len(text) > TEXT_MAX:
            yield invalid(field, "", f"can have at most {TEXT_MAX} characters")
    if len((event.get("note") or "").encode()) > NOTE_MAX_BYTES:
        yield invalid("note", "", f"can have at most {NOTE_MAX_BYTES} characters")
    if event.get("type") not in TYPES:
        yield not_supported("type", event.get("type") or "", TYPES)


def _first_seen(event: Obj) -> str:
    return str(event.get("firstTimestamp") or event.get("eventTime") or "")


def _last_seen(event: Obj) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or _first_seen(event))


def _source_cell(event: Obj, now: datetime) -> str:
    component = field_of(event, "source", "component", default="") or event.get("reportingComponent") or ""
    host = field_of(event, "source", "host", default="")
    return ", ".join(part for part in (str(component), str(host)) if part)


def _object_cell(event: Obj, now: datetime) -> str:
    about = event.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _count_cell(event: Obj, now: datetime) -> int:
    return int(field_of(event, "series", "count", default=0) or event.get("count") or 1)


COLUMNS = (
    Column("Last Seen", lambda event, now: age_of(_last_seen(event), now)),
    Column("Type", lambda event, now: str(event.get("type", ""))),
    Column("Reason", lambda event, now: str(event.get("reason", ""))),
    Column("Object", _object_cell),
    Column("Subobject", lambda event, now: str(field_of(event, "involvedObject", "fieldPath", default="")), wide=True),
    Column("Source", _source_cell, wide=True),
    Column("Message", lambda event, now: str(event.get("message", "")).strip()),
    Column("First Seen", lambda event, now: age_of(_first_seen(event), now), wide=True),
    Column("Count", _count_cell, wide=True),
    Column("Name", lambda event, now: name_of(event), format="name", wide=True),
)


def _converted(column: Column) -> Column:
    cell = column.cell
    return Column(
        column.name,
        lambda event, now: cell(event_to_storage(event), now),
        column.type,
        column.format,
        column.description,
        column.wide,
    )


_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("", "Event"): Kind(
        CoreEventStrategy(),
        COLUMNS,
        {
            **{f"involvedObject.{field}": text_at("involvedObject", field) for field in _ABOUT},
            "reason": text_at("reason"),
            "reportingComponent": text_at("reportingComponent"),
            "source": text_at("source", "component"),
            "type": text_at("type"),
        },
    ),
    GroupKind("events.k8s.io", "Event"): Kind(
        EventStrategy(),
        tuple(_converted(column) for column in COLUMNS),
        {
            **{f"regarding.{field}": text_at("regarding", field) for field in _ABOUT},
            "reason": text_at("reason"),
            "reportingController": text_at("reportingController"),
            "type": text_at("type"),
        },
    ),
}
