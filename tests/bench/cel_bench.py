"""What rules cost: `python -m tests.bench.cel_bench`, a few seconds.  The peer is the official implementation, in C++.

Processor time.  The peer is given the same dictionaries and checks no declared types; ours checks a write, paths included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cel_expr_python import cel

from cluster.machinery.cel import Budget, CelError, Environment
from cluster.machinery.cel.rules import broken_rules, compile_rules
from cluster.machinery.cel.types import DYN
from cluster.machinery.schema import ABSENT, compile_structural
from tests.bench.report import Row, print_table

SIMPLE = "self.min <= self.max && self.name.startsWith('a')"
LIST = "self.list.all(x, x >= 0 && x < 1000)"
SPEC: dict[str, Any] = {"min": 1, "max": 2, "name": "abc", "list": list(range(200))}
SMALL = {name: value for name, value in SPEC.items() if name != "list"}
HOSTILE = (
    ("self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", list(range(200))),
    ("self.map(x, x.matches('^(a|b|ab|ba)*$')).size() > 0", ["ab" * 50_000] * 100),
    ("self.all(x, self.all(y, x + y != ''))", ["a" * 1000] * 1000),
)


def microseconds(act: Callable[[], Any], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - began) / times * 1e6


def rule_cost(rule: str, spec: dict[str, Any], times: int) -> float:
    """One write's check of one rule, as custom resources are checked."""
    properties = {
        "min": {"type": "integer"},
        "max": {"type": "integer"},
        "name": {"type": "string"},
        "list": {"type": "array", "items": {"type": "integer"}},
    }
    ruled = {"type": "object", "properties": properties, "x-kubernetes-validations": [{"rule": rule}]}
    rules = compile_rules(compile_structural({"type": "object", "properties": {"spec": ruled}}))
    if rules is None:
        raise RuntimeError("the schema has a rule")
    return microseconds(lambda: list(broken_rules(rules, {"spec": spec}, ABSENT, Budget())), times)


def peer_cost(rule: str, spec: dict[str, Any], times: int) -> float:
    program = cel.NewEnv(variables={"self": cel.Type.DYN}).compile(rule)
    return microseconds(lambda: program.eval(data={"self": spec}).value(), times)


def longest_ms() -> float:
    """The longest that one expression holds up everything else before its budget ends."""
    worst = 0.0
    for source, value in HOSTILE:
        program = Environment({"self": DYN}).compile(source)
        began = time.process_time()
        try:
            program.evaluate({"self": value}, Budget())
        except CelError:
            worst = max(worst, (time.process_time() - began) * 1e3)
    return worst


def main() -> None:
    print_table(
        [
            Row("a rule of two comparisons", rule_cost(SIMPLE, SMALL, 5000), "us", 2.0, peer_cost(SIMPLE, SMALL, 2000)),
            Row("a rule over 200 items", rule_cost(LIST, SPEC, 300), "us", 4.0, peer_cost(LIST, SPEC, 200)),
            Row("compiling a rule", microseconds(lambda: Environment({"self": DYN}).compile(SIMPLE), 300), "us", 500),
            Row("the longest expression until its budget ends", longest_ms(), "ms", 300),
        ]
    )


if __name__ == "__main__":
    main()
