"""The text of the files that every container of a pod sees: /etc/hosts, /etc/resolv.conf, /etc/hostname.  Pure.

Upstream: pkg/kubelet/kubelet_pods.go (managedHostsFileContent), pkg/kubelet/network/dns/dns.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.kubelet.podspec import hostname_of, is_host_network, spec_of
from cluster.machinery.objects import Obj, namespace_of

NAMESERVERS_MAX = 3
SEARCHES_MAX = 32
SEARCH_CHARS_MAX = 2048


@dataclass(frozen=True, slots=True)
class Resolver:
    """The contents of a resolv.conf."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        lines = [f"nameserver {address}" for address in self.nameservers]
        if self.searches:
            lines.insert(0, f"search {' '.join(self.searches)}")
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "".join(f"{line}\n" for line in lines)


def parse_resolver(text: str) -> Resolver:
    """The host's resolv.conf; the last `search` and all options count, as the C library reads it."""
    nameservers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", address, *_]:
                nameservers.append(address)
            case ["search" | "domain", *names]:
                searches = tuple(names)
            case ["options", *named]:
                options += named
    return Resolver(tuple(nameservers), searches, tuple(options))


def resolver_of(pod: Obj, *, cluster_dns: Sequence[str], cluster_domain: str, host: Resolver) -> Resolver:
    """What the pod's dnsPolicy and dnsConfig ask for, cut to what the C library can use."""
    spec = spec_of(pod)
    policy = str(spec.get("dnsPolicy") or "ClusterFirst")
    on_cluster = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not is_host_network(pod))
    if policy == "None":
        base = Resolver()
    elif on_cluster and cluster_dns:
        namespace = namespace_of(pod)
        own = (f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
        base = Resolver(tuple(cluster_dns), (*own, *host.searches), ("ndots:5",))
    else:
        base = host
    config = spec.get("dnsConfig") or {}
    options = {option.partition(":")[0]: option for option in base.options}
    for option in config.get("options") or ():
        value = option.get("value")
        options[option["name"]] = option["name"] if value is None else f"{option['name']}:{value}"
    return Resolver(
        _unique((*base.nameservers, *(config.get("nameservers") or ())))[:NAMESERVERS_MAX],
        _fitting(_unique((*base.searches, *(config.get("searches") or ())))),
        tuple(options.values()),
    )


def _unique(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _fitting(searches: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for search in searches[:SEARCHES_MAX]:
        if len(" ".join([*kept, search])) > SEARCH_CHARS_MAX:
            break
        kept.append(search)
    return tuple(kept)


def hosts_text(pod: Obj, *, address: str, cluster_domain: str, host_file: str = "") -> str:
    """The managed hosts file: the pod's own name and its hostAliases; a host-network pod starts from the host's file."""
    spec = spec_of(pod)
    if is_host_network(pod):
        text = "# Kubernetes-managed hosts file (host network).\n" + host_file
    else:
        text = (
            "# Kubernetes-managed hosts file.\n"
            "127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::0\tip6-localnet\n"
            "fe00::0\tip6-mcastprefix\n"
            "fe00::1\tip6-allnodes\n"
            "fe00::2\tip6-allrouters\n"
        )
        names = [hostname_of(pod)]
        if spec.get("subdomain"):
            names.insert(0, f"{names[0]}.{spec['subdomain']}.{namespace_of(pod)}.svc.{cluster_domain}")
        if address:
            text += f"{address}\t{chr(9).join(names)}\n"
    aliases = spec.get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{alias['ip']}\t{chr(9).join(alias.get('hostnames') or ())}\n" for alias in aliases)
    return text
