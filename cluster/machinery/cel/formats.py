"""Texts by format: `format.dns1123Label().validate(name)`, and `"%s is %d".format([...])`.

Upstream: apiserver/pkg/cel/library/format.go, cel-go/ext/formatting.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cluster.machinery.cel.standard import TEXT_MAX, to_string
from cluster.machinery.cel.values import NONE, CelError, Optional, TypeValue, type_name
from cluster.machinery.names import (
    label_errors,
    label_value_errors,
    qualified_name_errors,
    service_name_errors,
    subdomain_errors,
)
from cluster.machinery.schema.formats import matches_format

DECLARATIONS = """
string.format(list(A)) string
::format.named(string) optional(kubernetes.NamedFormat)
::format.dns1123Label() kubernetes.NamedFormat
::format.dns1123Subdomain() kubernetes.NamedFormat
::format.dns1035Label() kubernetes.NamedFormat
::format.dns1123LabelPrefix() kubernetes.NamedFormat
::format.dns1123SubdomainPrefix() kubernetes.NamedFormat
::format.dns1035LabelPrefix() kubernetes.NamedFormat
::format.qualifiedName() kubernetes.NamedFormat
::format.labelValue() kubernetes.NamedFormat
::format.uri() kubernetes.NamedFormat
::format.uuid() kubernetes.NamedFormat
::format.byte() kubernetes.NamedFormat
::format.date() kubernetes.NamedFormat
::format.datetime() kubernetes.NamedFormat
kubernetes.NamedFormat.validate(string) optional(list(string))
"""

PRECISION_MAX = 100


@dataclass(frozen=True, slots=True)
class NamedFormat:
    cel_type: ClassVar[str] = "kubernetes.NamedFormat"
    name: str


def _of_schema(name: str, why: str) -> Callable[[str], Sequence[str]]:
    return lambda text: () if matches_format(name, text) else (why,)


def _prefix(check: Callable[[str], Sequence[str]]) -> Callable[[str], Sequence[str]]:
    """The check of a name that a generated suffix follows: it may end with a dash."""
    return lambda text: check(text[:-1] + "a" if text.endswith("-") else text)


_CHECKS: Mapping[str, Callable[[str], Sequence[str]]] = {
    "dns1123Label": label_errors,
    "dns1123Subdomain": subdomain_errors,
    "dns1035Label": service_name_errors,
    "dns1123LabelPrefix": _prefix(label_errors),
    "dns1123SubdomainPrefix": _prefix(subdomain_errors),
    "dns1035LabelPrefix": _prefix(service_name_errors),
    "qualifiedName": qualified_name_errors,
    "labelValue": label_value_errors,
    "uri": _of_schema("uri", "invalid URI"),
    "uuid": _of_schema("uuid", "does not match the UUID format"),
    "byte": _of_schema("byte", "invalid base64"),
    "date": _of_schema("date", "invalid date"),
    "datetime": _of_schema("date-time", "invalid datetime"),
}


def _named(name: str) -> Optional:
    return Optional(True, NamedFormat(name)) if name in _CHECKS else NONE


def _validate(form: NamedFormat, text: str) -> Optional:
    errors = list(_CHECKS[form.name](text))
    return Optional(True, errors) if errors else NONE


_CLAUSE = re.compile(r"%(?:%|(?:\.([0-9]{1,9}))?([a-zA-Z]))")


def _format(template: str, args: Sequence[Any]) -> str:
    parts: list[str] = []
    at = used = size = 0
    while (mark := template.find("%", at)) >= 0:
        match = _CLAUSE.match(template, mark)
        if match is None:
            raise CelError(
                "unexpected end of format string" if mark + 1 == len(template) else "malformed format string"
            )
        parts.append(template[at:mark])
        at = match.end()
        if match[2] is None:
            parts.append("%")
            continue
        if used >= len(args):
            raise CelError(f"index {used} out of range")
        parts.append(_clause(match[2], None if match[1] is None else int(match[1]), args[used]))
        size += len(parts[-1])
        if size > TEXT_MAX:
            raise CelError(f"text is longer than {TEXT_MAX} characters")
        used += 1
    return "".join(parts) + template[at:]


def _clause(verb: str, precision: int | None, value: Any) -> str:
    if precision is not None and precision > PRECISION_MAX:
        raise CelError(f"precision is larger than {PRECISION_MAX}")
    is_int = isinstance(value, int) and not isinstance(value, bool)
    match verb:
        case "s":
            return _shown(value)
        case "d" if is_int:
            return str(int(value))
        case "d" if isinstance(value, float) and not math.isfinite(value):
            return _shown(value)
        case "f" if is_int or isinstance(value, float):
            return f"{value:.{6 if precision is None else precision}f}" if math.isfinite(value) else _shown(value)
        case "e" if is_int or isinstance(value, float):
            return f"{value:.{6 if precision is None else precision}e}" if math.isfinite(value) else _shown(value)
        case "b" if is_int or isinstance(value, bool):
            return f"{int(value):b}"
        case "o" if is_int:
            return f"{int(value):o}"
        case "x" | "X":
            text = _hexadecimal(value) if not is_int else f"{int(value):x}"
            return text.upper() if verb == "X" else text
    if verb not in "sdfebox":
        raise CelError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
    raise CelError(f"error during formatting: no formatting function for {type_name(value)} and %{verb}")


def _hexadecimal(value: Any) -> str:
    if isinstance(value, str):
        return value.encode().hex()
    if isinstance(value, bytes):
        return value.hex()
    raise CelError("error during formatting: only integers, byte buffers, and strings can be formatted as hex")


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case list() | tuple():
            return "[" + ", ".join(_shown(item) for item in value) + "]"
        case Mapping():
            return "{" + ", ".join(sorted(f"{_shown(key)}: {_shown(part)}" for key, part in value.items())) + "}"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case TypeValue():
            return value.name
    return to_string(value)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "format": _format,
    "format.named": _named,
    "validate": _validate,
    **{f"format.{name}": (lambda form: lambda: form)(NamedFormat(name)) for name in _CHECKS},
}
