"""The Pod Security Standards: what each check finds in a pod, level by level, in upstream's words.  Pure.

Upstream: k8s.io/pod-security-admission/policy, as of the served minor version; the checks are in `pod_checks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cluster.machinery.objects import Obj
from cluster.resources.pod_checks import BASELINE, RESTRICTED, Check

Level: TypeAlias = Literal["privileged", "baseline", "restricted"]
LEVELS: tuple[Level, ...] = ("privileged", "baseline", "restricted")
LATEST = "latest"
MINOR_MAX = 33
"""The newest minor version whose standards are known; later ones are taken for it, as upstream does."""
_VERSION = re.compile(r"v1\.([0-9]{1,5})\Z")


@dataclass(frozen=True, slots=True)
class Standard:
    """A level of some version, as a namespace's labels name it."""

    level: Level
    version: str = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    @property
    def minor(self) -> int:
        match = _VERSION.match(self.version)
        return min(int(match[1]), MINOR_MAX) if match else MINOR_MAX


PRIVILEGED = Standard("privileged")


def violations_of(pod: Obj, standard: Standard) -> Sequence[str]:
    """What in the pod's metadata and spec the standard does not allow: `reason (detail)`, in upstream's order."""
    if standard.level == "privileged":
        return ()
    checks: Sequence[Check] = BASELINE
    if standard.level == "restricted":
        stricter = [check for check in RESTRICTED if check.since_minor <= standard.minor]
        replaced = {check.replaces for check in stricter}
        checks = (*(check for check in BASELINE if check.name not in replaced), *stricter)
    return [found for check in checks for found in check.run(pod, standard.minor)]


def level_problem(text: str) -> str:
    """Why `text` is no level; empty when it is one."""
    return "" if text in LEVELS else "must be one of privileged, baseline, restricted"


def version_problem(text: str) -> str:
    """Why `text` is no version; empty when it is one."""
    return "" if text == LATEST or _VERSION.match(text) else 'must be "latest" or "v1.x"'


def standard_of(labels: Mapping[str, str], mode: str) -> Standard:
    """What a namespace's labels ask for in a mode (`enforce`, `audit`, `warn`); nothing where they ask for nothing.

    A level that cannot be read is taken for the strictest, as upstream: such labels are refused when they are written.
    """
    level = labels.get(f"pod-security.kubernetes.io/{mode}")
    if not level:
        return PRIVILEGED
    version = labels.get(f"pod-security.kubernetes.io/{mode}-version") or LATEST
    known: Level = next((known for known in LEVELS if known == level), "restricted")
    return Standard(known, LATEST if version_problem(version) else version)
