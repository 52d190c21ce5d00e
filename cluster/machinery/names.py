"""What may be a name, a label or a port name.  Each check returns the reasons against, worded as upstream words them.

Upstream: apimachinery/pkg/util/validation/validation.go, pkg/api/validation/path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cluster.machinery import field_errors as field
from cluster.machinery.errors import Cause

LABEL_MAX = 63
SUBDOMAIN_MAX = 253
ANNOTATIONS_SIZE_MAX_BYTES = 256 * 1024

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_WHY = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    f"alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_SUBDOMAIN_WHY = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    f"with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_WILDCARD_WHY = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case "
    "alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for "
    f"validation is '{_WILDCARD}')"
)
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_DNS1035_WHY = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end "
    f"with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_DNS1035}')"
)
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_QUALIFIED_WHY = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
    f"'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
_VALUE = f"({_QUALIFIED})?"
_VALUE_WHY = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    f"with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '{_VALUE}')"
)
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_CONFIG_KEY_WHY = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    f"'key-name', regex used for validation is '{_CONFIG_KEY}')"
)
_ENVIRONMENT_WHY = "a valid environment variable name must consist only of printable ASCII characters other than '='"

_ENVIRONMENT_NAME = re.compile(r"[ -<>-~]+\Z")
_PORT_NAME = re.compile(r"[-a-z0-9]+\Z")
_LETTER = re.compile("[a-z]")

_SYNTAX = {
    text: re.compile(rf"(?:{text})\Z", re.ASCII)
    for text in (_LABEL, _SUBDOMAIN, _WILDCARD, _DNS1035, _QUALIFIED, _VALUE, _CONFIG_KEY)
}


def label_errors(name: str) -> tuple[str, ...]:
    """DNS-1123 label: namespaces, containers, volumes."""
    return _check(name, _LABEL, _LABEL_WHY, LABEL_MAX)


def subdomain_errors(name: str) -> tuple[str, ...]:
    """DNS-1123 subdomain: most objects' names, finalizers' and labels' prefixes."""
    return _check(name, _SUBDOMAIN, _SUBDOMAIN_WHY, SUBDOMAIN_MAX)


def wildcard_subdomain_errors(name: str) -> tuple[str, ...]:
    """DNS-1123 subdomain below `*.`: hosts of Ingress rules."""
    return _check(name, _WILDCARD, _WILDCARD_WHY, SUBDOMAIN_MAX)


def service_name_errors(name: str) -> tuple[str, ...]:
    """DNS-1035 label: Services."""
    return _check(name, _DNS1035, _DNS1035_WHY, LABEL_MAX)


def path_segment_errors(name: str) -> tuple[str, ...]:
    """What any name must be to stand in a URL: RBAC objects allow everything else."""
    if name in (".", ".."):
        return (f"may not be '{name}'",)
    return tuple(f"may not contain '{part}'" for part in ("/", "%") if part in name)


def qualified_name_errors(key: str) -> tuple[str, ...]:
    """A label or annotation key: `[prefix/]name`."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return (
            f"a qualified name {_QUALIFIED_WHY} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    reasons: list[str] = []
    if slash:
        if prefix:
            reasons += [f"prefix part {reason}" for reason in subdomain_errors(prefix)]
        else:
            reasons.append("prefix part must be non-empty")
    if not name:
        reasons.append("name part must be non-empty")
    elif len(name) > LABEL_MAX:
        reasons.append(f"name part must be no more than {LABEL_MAX} bytes")
    if not _SYNTAX[_QUALIFIED].match(name):
        reasons.append(f"name part {_QUALIFIED_WHY}")
    return tuple(reasons)


def label_value_errors(value: str) -> tuple[str, ...]:
    return _check(value, _VALUE, _VALUE_WHY, LABEL_MAX)


def config_key_errors(key: str) -> tuple[str, ...]:
    """A key of ConfigMap or Secret data: also a file name, so neither `.` nor `..`."""
    reasons = list(_check(key, _CONFIG_KEY, _CONFIG_KEY_WHY, SUBDOMAIN_MAX))
    if key in (".", ".."):
        reasons.append(f"must not be '{key}'")
    elif key.startswith(".."):
        reasons.append("must not start with '..'")
    return tuple(reasons)


def environment_name_errors(name: str) -> tuple[str, ...]:
    """An environment variable's name, relaxed as since 1.32."""
    if not name:
        return ("environment variable name must be non-empty",)
    return () if _ENVIRONMENT_NAME.match(name) else (_ENVIRONMENT_WHY,)


def port_name_errors(name: str) -> tuple[str, ...]:
    """An IANA service name: lower case, 15 characters, a letter somewhere, no doubled or outer hyphens."""
    reasons: list[str] = []
    if len(name) > 15:
        reasons.append("must be no more than 15 bytes")
    if not _PORT_NAME.match(name):
        reasons.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _LETTER.search(name):
        reasons.append("must contain at least one letter (a-z)")
    if "--" in name:
        reasons.append("must not contain consecutive hyphens")
    if name[:1] == "-" or name[-1:] == "-":
        reasons.append("must not begin or end with a hyphen")
    return tuple(reasons)


def port_number_errors(port: int) -> tuple[str, ...]:
    return () if 1 <= port <= 65535 else ("must be between 1 and 65535, inclusive",)


def generated_prefix_errors(prefix: str, *, subdomain: bool = True) -> tuple[str, ...]:
    """A `generateName`: as a name, but it may end in a hyphen, to which a suffix will be added."""
    name = prefix[:-1] + "a" if prefix.endswith("-") else prefix
    return subdomain_errors(name) if subdomain else label_errors(name)


def labels_causes(labels: Mapping[str, str], path: str) -> tuple[Cause, ...]:
    """What is wrong with a label map at `path`."""
    causes: list[Cause] = []
    for key, value in labels.items():
        causes += [field.invalid(path, key, reason) for reason in qualified_name_errors(key)]
        causes += [field.invalid(path, value, reason) for reason in label_value_errors(value)]
    return tuple(causes)


def annotations_causes(annotations: Mapping[str, str], path: str) -> tuple[Cause, ...]:
    """What is wrong with an annotation map at `path`: its keys, and its size altogether."""
    causes = [field.invalid(path, key, reason) for key in annotations for reason in qualified_name_errors(key.lower())]
    size_bytes = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size_bytes > ANNOTATIONS_SIZE_MAX_BYTES:
        causes.append(field.too_long(path, ANNOTATIONS_SIZE_MAX_BYTES))
    return tuple(causes)


def _check(text: str, syntax: str, why: str, longest: int) -> tuple[str, ...]:
    if len(text) > longest:
        # The patterns are linear, but an endless text is not worth matching.
        return (f"must be no more than {longest} bytes",)
    return () if _SYNTAX[syntax].match(text) else (why,)
