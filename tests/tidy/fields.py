"""docs/fields.md from the enforcement tables: `python -m tests.tidy.fields` writes it, keeping what follows the last table."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from cluster.resources import enforcement
from cluster.resources.enforcement import FORBIDDEN_VALUES, Level
from tests.tidy.tree import ROOT, committed, text_of

PAGE = "docs/fields.md"
TABLES: Mapping[str, Mapping[str, Level]] = {
    "Pod: spec": enforcement.POD,
    "Pod: spec.affinity": enforcement.AFFINITY,
    "Pod: spec.securityContext": enforcement.POD_SECURITY,
    "Container": enforcement.CONTAINER,
    "Container: securityContext": enforcement.CONTAINER_SECURITY,
    "Volume": enforcement.VOLUME,
    "Container: volumeMounts": enforcement.VOLUME_MOUNT,
    "Service: spec": enforcement.SERVICE,
    "Deployment: spec": enforcement.DEPLOYMENT,
}
NO_TEST = "none"
_NEAREST = (
    "tests/real/kubelet/", "tests/real/line/", "tests/real/network/", "tests/real/runtime/", "tests/unit/kubelet/",
    "tests/unit/scheduler/", "tests/unit/proxy/", "tests/unit/controllers/", "tests/unit/dns/", "tests/unit/apiserver/",
    "tests/unit/resources/",
)  # fmt: skip
"""Where a test that observes a field may be, the most real first."""


def is_observed_in(field: str, test: Path | str) -> bool:
    """The module sets or reads the field by name."""
    return re.search(rf"[\"'\s{{(]{field}[\"':=]", text_of(test)) is not None


def tests_of(field: str) -> Iterator[str]:
    """The nearest test module that names the field."""
    for place in _NEAREST:
        modules = [path for path in committed() if path.as_posix().startswith(place) and path.suffix == ".py"]
        if found := next((path for path in modules if is_observed_in(field, path)), None):
            yield found.as_posix()
            return


def table_of(title: str) -> str:
    lines = [f"## {title}", "", "| field | here | nearest test |", "|---|---|---|"]
    for field, level in sorted(TABLES[title].items()):
        word = f"enforced, but `{value}` is forbidden" if (value := FORBIDDEN_VALUES.get(field)) else level.value
        test = next(tests_of(field), NO_TEST) if level is Level.ENFORCED else ""
        lines.append(f"| `{field}` | {word} | {f'`{test}`' if test not in ('', NO_TEST) else test} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    before = text_of(PAGE).partition("\n## ")[0]
    (ROOT / PAGE).write_text(before + "\n" + "\n".join(table_of(title) for title in TABLES))
    sys.stdout.write(f"wrote {PAGE}\n")


if __name__ == "__main__":
    main()
