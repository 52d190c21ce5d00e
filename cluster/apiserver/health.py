"""Whether the server lives and is ready, and what it counts: the paths probes and scrapers read.

Upstream: apiserver/pkg/server/healthz.  `/version` is discovery's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cluster.apiserver.http import ApiRequest, Reply
from cluster.apiserver.state import State

TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
_ROOTS = ("healthz", "livez", "readyz")


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    passes: Callable[[], bool]


class Health:
    """`ready_checks` decide `/readyz`; living only needs an answer.  `flows` are the lines of fairness in `/metrics`."""

    def __init__(self, state: State, flows: Callable[[], Iterable[str]], ready_checks: Iterable[Check]) -> None:
        self._flows = flows
        self._state = state
        self._ready = tuple(ready_checks)
        self._answered: dict[tuple[str, int], int] = {}
        self._certificates: Mapping[str, datetime] = {}
        self._unsettled: Callable[[], Mapping[str, float]] = dict

    def count(self, verb: str, code: int) -> None:
        """Note an answered request, for `/metrics`; successes all count as 200."""
        self._answered[verb, code] = self._answered.get((verb, code), 0) + 1

    def note_certificates(self, ends: Mapping[str, datetime]) -> None:
        """When each certificate ends, by name, for `/metrics`."""
        self._certificates = ends

    def note_controllers(self, unsettled_s: Callable[[], Mapping[str, float]]) -> None:
        """Who tells, for `/metrics`, how long each controller has not come to rest."""
        self._unsettled = unsettled_s

    def handle(self, request: ApiRequest) -> Reply | None:
        """The answer to a health path, or None for any other."""
        root, _, check = request.path.strip("/").partition("/")
        if root == "metrics" and not check:
            return Reply(body=self._metrics().encode(), content_type=METRICS)
        if root not in _ROOTS:
            return None
        checks = (Check("ping", lambda: True), *(self._ready if root != "livez" else ()))
        if check:
            checks = tuple(c for c in checks if c.name == check)
            if not checks:
                return None
        excluded = set(request.query.get("exclude", ()))
        results = [(c.name, c.name in excluded or c.passes()) for c in checks]
        healthy = all(passed for _, passed in results)
        if healthy and "verbose" not in request.query:
            return Reply(body=b"ok", content_type=TEXT)
        lines = [f"[{'+' if passed else '-'}]{name} {'ok' if passed else 'failed'}" for name, passed in results]
        lines.append(f"{root} check {'passed' if healthy else 'failed'}")
        return Reply(200 if healthy else 500, body=("\n".join(lines) + "\n").encode(), content_type=TEXT)

    def _metrics(self) -> str:
        """Prometheus' text format; every series in a fixed order."""
        lines = [
            "# HELP apiserver_request_total Requests answered, by verb and code.",
            "# TYPE apiserver_request_total counter",
        ]
        lines += [
            f'apiserver_request_total{{verb="{verb}",code="{code}"}} {count}'
            for (verb, code), count in sorted(self._answered.items())
        ]
        lines += [
            "# HELP apiserver_storage_objects Objects stored, by resource.",
            "# TYPE apiserver_storage_objects gauge",
        ]
        lines += [
            f'apiserver_storage_objects{{resource="{table.id.plural}.{table.id.group}"}} {len(table.rows)}'
            for table in sorted(self._state.tables(), key=lambda table: table.id)
        ]
        lines += ["# HELP apiserver_watchers Open watches, by resource.", "# TYPE apiserver_watchers gauge"]
        lines += [
            f'apiserver_watchers{{resource="{table.id.plural}.{table.id.group}"}} {len(table.wakes)}'
            for table in sorted(self._state.tables(), key=lambda table: table.id)
        ]
        lines += [
            "# HELP apiserver_certificate_end_timestamp_seconds When a certificate ends, by name.",
            "# TYPE apiserver_certificate_end_timestamp_seconds gauge",
        ]
        lines += [
            f'apiserver_certificate_end_timestamp_seconds{{certificate="{name}"}} {int(end.timestamp())}'
            for name, end in sorted(self._certificates.items())
        ]
        lines += [
            "# HELP controller_unsettled_seconds How long the most restless object of a controller has not come to rest.",
            "# TYPE controller_unsettled_seconds gauge",
        ]
        lines += [
            f'controller_unsettled_seconds{{controller="{name}"}} {seconds:.3f}'
            for name, seconds in sorted(self._unsettled().items())
        ]
        lines += self._flows()
        return "\n".join(lines) + "\n"
