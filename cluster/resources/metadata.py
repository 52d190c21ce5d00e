"""What must hold of `metadata`, on create and on update, whatever the kind.

Upstream: apimachinery/pkg/api/validation/objectmeta.go.  Server-owned fields (uid, creationTimestamp, deletionTimestamp,
resourceVersion, managedFields) are the registry's and are not looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, required, too_long
from cluster.machinery.objects import Obj

NameCheck: TypeAlias = Callable[[str], tuple[str, ...]]
"""A name to what is wrong with it, in upstream's words; empty when nothing is."""

ANNOTATIONS_MAX_BYTES = 256 * 1024
LABEL_MAX = 63
SUBDOMAIN_MAX = 253

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")

_LABEL_WRONG = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_1035_WRONG = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and "
    "end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_WRONG = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_NAME_PART_WRONG = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
    "'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_WRONG = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def _too_long(text: str, most: int) -> tuple[str, ...]:
    return (f"must be no more than {most} bytes",) if len(text) > most else ()


def label_name(name: str) -> tuple[str, ...]:
    """RFC 1123 label: namespaces, container and volume names."""
    return (*_too_long(name, LABEL_MAX), *(() if _LABEL.match(name) else (_LABEL_WRONG,)))


def label_1035_name(name: str) -> tuple[str, ...]:
    """RFC 1035 label: services."""
    return (*_too_long(name, LABEL_MAX), *(() if _LABEL_1035.match(name) else (_LABEL_1035_WRONG,)))


def subdomain_name(name: str) -> tuple[str, ...]:
    """RFC 1123 subdomain: most kinds."""
    return (*_too_long(name, SUBDOMAIN_MAX), *(() if _SUBDOMAIN.match(name) else (_SUBDOMAIN_WRONG,)))


def path_segment_name(name: str) -> tuple[str, ...]:
    """Anything that is one URL path segment: RBAC kinds (`system:node`)."""
    if name in (".", ".."):
        return (f"may not be '{name}'",)
    return tuple(f"may not contain '{part}'" for part in ("/", "%") if part in name)


def qualified_name(name: str) -> tuple[str, ...]:
    """A label or annotation key: `name` or `prefix.example.com/name`."""
    if _SIMPLE_KEY.match(name):
        return ()
    parts = name.split("/")
    if len(parts) > 2:
        return (
            f"a qualified name {_NAME_PART_WRONG} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    found: list[str] = []
    if len(parts) == 2:
        if not parts[0]:
            found.append("prefix part must be non-empty")
        else:
            found.extend(f"prefix part {text}" for text in subdomain_name(parts[0]))
    last = parts[-1]
    if not last:
        found.append("name part must be non-empty")
    else:
        found.extend(f"name part {text}" for text in _too_long(last, LABEL_MAX))
        if not _NAME_PART.match(last):
            found.append(f"name part {_NAME_PART_WRONG}")
    return tuple(found)


_SIMPLE_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")


def label_value(value: str) -> tuple[str, ...]:
    if not value or _SIMPLE_KEY.match(value):
        return ()
    return (*_too_long(value, LABEL_MAX), *(() if _NAME_PART.match(value) else (_LABEL_VALUE_WRONG,)))


def validate_labels(labels: Mapping[str, str], path: str) -> tuple[Cause, ...]:
    found: list[Cause] = []
    for key, value in labels.items():
        found.extend(invalid(path, key, why) for why in qualified_name(key))
        found.extend(invalid(path, value, why) for why in label_value(value))
    return tuple(found)


def validate_annotations(annotations: Mapping[str, str], path: str) -> tuple[Cause, ...]:
    found = [invalid(path, key, why) for key in annotations for why in qualified_name(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_MAX_BYTES:
        found.append(too_long(path, ANNOTATIONS_MAX_BYTES))
    return tuple(found)


def validate_metadata(meta: Obj, *, namespaced: bool, name_check: NameCheck) -> tuple[Cause, ...]:
    found: list[Cause] = []
    if prefix := meta.get("generateName"):
        # The suffix makes a trailing dash whole, so the prefix is checked as if one were there.
        stem = prefix[:-1] + "a" if prefix.endswith("-") else prefix
        found.extend(invalid("metadata.generateName", prefix, why) for why in name_check(stem))
    name = meta.get("name", "")
    if not name:
        found.append(required("metadata.name", "name or generateName is required"))
    else:
        found.extend(invalid("metadata.name", name, why) for why in name_check(name))
    namespace = meta.get("namespace", "")
    if namespaced:
        if not namespace:
            found.append(required("metadata.namespace"))
        else:
            found.extend(invalid("metadata.namespace", namespace, why) for why in label_name(namespace))
    elif namespace:
        found.append(forbidden("metadata.namespace", "not allowed on this type"))
    if labels := meta.get("labels"):
        found.extend(validate_labels(labels, "metadata.labels"))
    if annotations := meta.get("annotations"):
        found.extend(validate_annotations(annotations, "metadata.annotations"))
    if references := meta.get("ownerReferences"):
        found.extend(_validate_owner_references(references))
    for finalizer in meta.get("finalizers") or ():
        found.extend(_validate_finalizer(finalizer))
    return tuple(found)


_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def _validate_finalizer(finalizer: str) -> tuple[Cause, ...]:
    path = "metadata.finalizers"
    if found := tuple(invalid(path, finalizer, why) for why in qualified_name(finalizer)):
        return found
    if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
        return (invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified"),)
    return ()


def _validate_owner_references(references: list[Obj]) -> tuple[Cause, ...]:
    found: list[Cause] = []
    path = "metadata.ownerReferences"
    controller = ""
    for reference in references:
        api_version, kind = reference.get("apiVersion", ""), reference.get("kind", "")
        if not api_version.rpartition("/")[2]:
            found.append(invalid(f"{path}.apiVersion", api_version, "version must not be empty"))
        found.extend(
            invalid(f"{path}.{field}", reference.get(field, ""), "must not be empty")
            for field in ("kind", "name", "uid")
            if not reference.get(field)
        )
        if kind == "Event" and api_version in ("v1", "events.k8s.io/v1"):
            found.append(invalid(path, reference, f"{api_version}, Kind=Event is disallowed from being an owner"))
        if reference.get("controller"):
            if controller:
                why = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {reference.get('name', '')}"
                )
                found.append(invalid(path, references, why))
            controller = reference.get("name", "")
    return tuple(found)


def validate_metadata_update(new: Obj, old: Obj) -> tuple[Cause, ...]:
    found = [
        invalid(f"metadata.{field}", new.get(field, ""), "field is immutable")
        for field in ("name", "namespace", "uid", "creationTimestamp")
        if new.get(field) != old.get(field)
    ]
    if old.get("deletionTimestamp"):
        known = old.get("finalizers") or ()
        if added := [name for name in new.get("finalizers") or () if name not in known]:
            listed = ", ".join(f'"{name}"' for name in added)
            why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
            found.append(forbidden("metadata.finalizers", why))
    return tuple(found)
