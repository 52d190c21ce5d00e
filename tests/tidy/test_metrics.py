"""docs/operations.md names every metric."""

from __future__ import annotations

import re

from tests.tidy.tree import text_of


def test_every_metric_is_named() -> None:
    served = set(re.findall(r"# TYPE (\w+) ", text_of("cluster/apiserver/health.py")))
    assert served
    assert not [name for name in served if f"`{name}`" not in text_of("docs/operations.md")]
