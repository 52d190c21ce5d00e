"""String formats that custom resource schemas may demand; an unknown format demands nothing.

Upstream: kube-openapi/pkg/validation/strfmt, limited to what apiextensions lists as supported.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from urllib.parse import urlsplit

_DURATION = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+\Z|0\Z", re.ASCII)
_LONG_DURATION = re.compile(r"\s*(?:\d+(?:\.\d+)?\s*[a-zA-Zµμ]+\s*)+\Z", re.ASCII)
_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\Z", re.IGNORECASE | re.ASCII)
_HOSTNAME = re.compile(
    r"(?=.{1,255}\Z)[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*\.?\Z"
)
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+\Z")
_MAC = re.compile(r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}\Z", re.IGNORECASE)


def matches_format(name: str, text: str) -> bool:
    """Whether `text` is of the format; True for formats this server does not know."""
    check = FORMATS.get(name)
    return check is None or check(text)


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _is_date_time(text: str) -> bool:
    match = _DATE_TIME.match(text)
    if match is None:
        return False
    return _parses(datetime.fromisoformat)(f"{match[1]}T{match[2]}{match[4].upper().replace('Z', '+00:00')}")


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_date(text: str) -> bool:
    return re.match(r"\d{4}-\d\d-\d\d\Z", text, re.ASCII) is not None and _parses(date.fromisoformat)(text)


def _is_uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) or text.startswith("/")


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "byte": _is_base64,
    "cidr": lambda text: "/" in text and _parses(lambda t: ipaddress.ip_network(t, strict=False))(text),
    "date": _is_date,
    "date-time": _is_date_time,
    "datetime": _is_date_time,
    "duration": lambda text: bool(_DURATION.match(text) or _LONG_DURATION.match(text)),
    "email": lambda text: bool(_EMAIL.match(text)),
    "hostname": lambda text: bool(_HOSTNAME.match(text)),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "mac": lambda text: bool(_MAC.match(text)),
    "uri": _is_uri,
    "uuid": lambda text: bool(_UUID.match(text)),
    "uuid3": lambda text: bool(_UUID.match(text)) and text.replace("-", "")[12] == "3",
    "uuid4": lambda text: bool(_UUID.match(text)) and text.replace("-", "")[12] == "4",
    "uuid5": lambda text: bool(_UUID.match(text)) and text.replace("-", "")[12] == "5",
}
