"""IP addresses and CIDRs in CEL.  Upstream: apiserver/pkg/cel/library/{ip,cidr}.go."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from cluster.machinery.cel.values import CelError

DECLARATIONS = """
::ip(string) net.IP
::isIP(string) bool
::ip.isCanonical(string) bool
::string(net.IP) string
::string(net.CIDR) string
net.IP.family() int
net.IP.isUnspecified() bool
net.IP.isLoopback() bool
net.IP.isLinkLocalMulticast() bool
net.IP.isLinkLocalUnicast() bool
net.IP.isGlobalUnicast() bool
::cidr(string) net.CIDR
::isCIDR(string) bool
net.CIDR.containsIP(string) bool
net.CIDR.containsIP(net.IP) bool
net.CIDR.containsCIDR(string) bool
net.CIDR.containsCIDR(net.CIDR) bool
net.CIDR.ip() net.IP
net.CIDR.masked() net.CIDR
net.CIDR.prefixLength() int
"""

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_LINK_LOCAL_MULTICAST = {4: ipaddress.ip_network("224.0.0.0/24"), 6: ipaddress.ip_network("ff02::/16")}


@dataclass(frozen=True, slots=True)
class Ip:
    cel_type: ClassVar[str] = "net.IP"
    address: Address

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Cidr:
    """An address with a prefix length; bits after the prefix are kept until `masked()`."""

    cel_type: ClassVar[str] = "net.CIDR"
    address: Address
    prefix: int

    @property
    def network(self) -> Any:
        return ipaddress.ip_network(f"{self.address}/{self.prefix}", strict=False)

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


def _ip(value: Any) -> Ip:
    if isinstance(value, Cidr):
        return Ip(value.address)
    try:
        address = ipaddress.ip_address(value)
    except ValueError as error:
        raise CelError(f'IP Address "{value[:64]}" parse error during conversion from string: {error}') from None
    if address.version == 6 and (address.ipv4_mapped is not None or address.scope_id):
        why = "IPv4-mapped IPv6 address" if address.ipv4_mapped is not None else "IP Address with zone value"
        raise CelError(f'{why} "{value[:64]}" is not allowed')
    return Ip(address)


def _cidr(text: str) -> Cidr:
    address, mark, prefix = text.partition("/")
    try:
        if not mark or not prefix.isdigit() or not prefix.isascii() or (len(prefix) > 1 and prefix[0] == "0"):
            raise ValueError("no prefix length")
        size = ipaddress.ip_interface(text).network.prefixlen
    except ValueError:
        raise CelError(f'network address parse error during conversion from string: "{text[:64]}"') from None
    return Cidr(_ip(address).address, size)


def _is_valid(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except CelError:
            return False
        return True

    return check


def _contains_ip(cidr: Cidr, other: Any) -> bool:
    address = _ip(other).address if isinstance(other, str) else other.address
    return bool(address.version == cidr.address.version and address in cidr.network)


def _contains_cidr(cidr: Cidr, other: Any) -> bool:
    inner = _cidr(other) if isinstance(other, str) else other
    return bool(inner.address.version == cidr.address.version and inner.network.subnet_of(cidr.network))


def _masked(cidr: Cidr) -> Cidr:
    return Cidr(cidr.network.network_address, cidr.prefix)


def _is_global_unicast(ip: Ip) -> bool:
    address = ip.address
    if address == ipaddress.ip_address("255.255.255.255"):
        return False
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "ip": _ip,
    "isIP": _is_valid(_ip),
    "ip.isCanonical": lambda text: str(_ip(text)) == text,
    "family": lambda ip: ip.address.version,
    "isUnspecified": lambda ip: ip.address.is_unspecified,
    "isLoopback": lambda ip: ip.address.is_loopback,
    "isLinkLocalMulticast": lambda ip: ip.address in _LINK_LOCAL_MULTICAST[ip.address.version],
    "isLinkLocalUnicast": lambda ip: ip.address.is_link_local,
    "isGlobalUnicast": _is_global_unicast,
    "cidr": _cidr,
    "isCIDR": _is_valid(_cidr),
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "masked": _masked,
    "prefixLength": lambda cidr: cidr.prefix,
}
