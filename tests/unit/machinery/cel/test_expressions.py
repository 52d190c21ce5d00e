"""Expressions and their values: what upstream documents, and whatever the official implementation says."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.cel import Budget, CelError, CompileError, Environment, OverBudget
from cluster.machinery.cel.types import DYN

VALUES = {
    "self": {
        "replicas": 2,
        "max": 5,
        "name": "web-1",
        "labels": {"a": "b"},
        "ports": [80, 443],
        "ratio": 0.5,
        "on": True,
    },
}
ENVIRONMENT = Environment({"self": DYN})


def value_of(source: str, values: Any = VALUES) -> Any:
    return ENVIRONMENT.compile(source).evaluate(values, Budget())


TRUE = (
    "self.replicas <= self.max && self.name.startsWith('web')",
    "has(self.name) && !has(self.missing)",
    "self.?missing.orValue(7) == 7",
    "self.labels.all(k, k.size() == 1)",
    "self.ports.exists_one(p, p == 80)",
    "self.ports.exists(i, p, i == 1 && p == 443)",
    "self.ports.map(p, p + 1) == [81, 444]",
    "self.ports.map(p, p > 100, p) == [443]",
    "self.ports.transformMap(i, p, string(p)) == {0: '80', 1: '443'}",
    "{'a': 1, 'b': 2}.transformMapEntry(k, v, {string(v): k}) == {'1': 'a', '2': 'b'}",
    "1 == 1.0 && 1u == 1 && 2 < 2.5",
    "[1, 2] == [1.0, 2.0] && {'a': 1} == {'a': 1u}",
    "1 / 0 == 1 || true",
    "!(1 / 0 == 1 && false)",
    "[1, 0].exists(x, 1 / x == 1)",
    "-7 / 2 == -3 && -7 % 2 == -1",
    "-9223372036854775808 < 0 && 0xff == 255",
    "r'\\d' == '\\\\d' && b'\\xff' != b'a' && '\\u00e9' == 'é'",
    "'''a\n'b''' == \"a\\n'b\"",
    "'tacocat'.indexOf('c', 3) == 4 && 'abc'.lastIndexOf('c') == 2 && [1, 2, 1].lastIndexOf(1) == 2",
    "'a,b,c'.split(',', 2) == ['a', 'b,c'] && ['a', 'b'].join('-') == 'a-b'",
    "'%s is %d, %.2f, %x, %b'.format(['n', 3, 1.0, 255, 5]) == 'n is 3, 1.00, ff, 101'",
    "'abc 123'.find('[0-9]+') == '123' && '1a2b3'.findAll('[0-9]', 2) == ['1', '2']",
    "'abc'.matches('^[a-c]+$') && !'abc'.matches('^b')",
    "[1, 3, 2].sum() == 6 && [1.5, 2.5].max() == 2.5 && ['b', 'a'].min() == 'a' && [1, 2].isSorted()",
    "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])",
    "quantity('1.5Gi').isGreaterThan(quantity('1Gi')) && quantity('50k').add(20) == quantity('50020')",
    "quantity('1Mi').asInteger() == 1048576 && !isQuantity('1.3.3') && quantity('2').compareTo(quantity('2000m')) == 0",
    "url('https://example.com:80/p?k=v').getHostname() == 'example.com' && isURL('/absolute') && !isURL('x y')",
    "url('https://[::1]:80/').getHost() == '[::1]:80' && url('https://[::1]:80/').getPort() == '80'",
    "ip('::1').family() == 6 && ip('127.0.0.1').isLoopback() && !isIP('::ffff:1.2.3.4') && ip.isCanonical('10.0.0.1')",
    "cidr('192.168.0.0/24').containsIP('192.168.0.7') && string(cidr('10.1.2.3/8').masked()) == '10.0.0.0/8'",
    "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.0.0.0/8').prefixLength() == 8 && !isCIDR('10.0.0.0')",
    "!format.dns1123Label().validate('my-name').hasValue() && format.dns1123Label().validate('A').hasValue()",
    "format.named('date').value().validate('2021-01-40').hasValue() && !format.named('nothing').hasValue()",
    "semver('1.2.3-rc.1').isLessThan(semver('1.2.3')) && isSemver('v1.0', true) && !isSemver('1.0')",
    "duration('1h30m').getMinutes() == 90 && timestamp('2024-02-29T12:00:00+01:00').getHours() == 11",
    "timestamp('2024-01-01T00:00:00Z') - timestamp('2023-12-31T00:00:00Z') == duration('24h')",
    "timestamp('2024-03-01T00:00:00Z').getDayOfWeek('America/New_York') == 4",
    "cel.bind(x, self.replicas, x + x) == 4 && optional.of(1).optMap(y, y + 1).value() == 2",
    "[1, ?optional.none(), 3].size() == 2 && {?'a': optional.of(1)}.a == 1",
    "type(1) == int && type(self.name) == string && type([]) == list",
    "'ABC'.lowerAscii() == 'abc' && ' x '.trim() == 'x' && 'a.b'.replace('.', '-') == 'a-b'",
    "self.ratio + 0.5 == 1.0 && double(self.replicas) == 2.0 && int('7') == 7 && string(1.0) == '1'",
    "true ? true : 1 / 0 == 1",
    "'b' in {'b': 1} && 443 in self.ports && !('z' in self.labels)",
    "self.labels['a'] == 'b' && self.ports[1] == 443 && self.labels[?'z'].orValue('none') == 'none'",
)


@pytest.mark.parametrize("source", TRUE)
def test_documented_expressions_hold(source: str) -> None:
    assert value_of(source) is True


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("self.missing == 1", "no such key: missing"),
        ("self.ports[9] == 1", "index out of bounds: 9"),
        ("self.labels['z'] == ''", "no such key: z"),
        ("9223372036854775807 + self.replicas > 0", "integer overflow"),
        ("1 / (self.replicas - 2) == 1", "division by zero"),
        ("self.name + self.replicas == ''", "no such overload"),
        ("self.name && true", "no such overload"),
        ("self.name.foo == 1", "no such overload: string has no fields"),
        ("'a'.matches(self.name + '(')", "error parsing regexp: missing ): `web-1(`"),
        ("ip('x').family() == 4", 'IP Address "x" parse error'),
        ("quantity('x') == quantity('1')", "quantities must match the regular expression"),
        ("[1, 2].all(x, x / 0 == 1)", "division by zero"),
        ("optional.none().value() == 1", "optional.none() dereference"),
        ("'%.101f'.format([1.0]) == ''", "precision is larger than 100"),
    ],
)
def test_what_cannot_be_evaluated_says_why(source: str, why: str) -> None:
    with pytest.raises(CelError) as failure:
        value_of(source)
    assert failure.value.message.startswith(why)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("other.x", "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')\n | other.x\n | ^"),
        ("1 + 'a'", "<input>:1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("'a'.foo()", "undeclared reference to 'foo'"),
        ("'a'.size(1) == 1", "found no matching overload for 'size' applied to 'string.(int)'"),
        ("this does not compile", "<input>:1:6: Syntax error: mismatched input 'does' expecting <EOF>"),
        ("1 ==", "Syntax error: mismatched input '<EOF>' expecting"),
        ("'abc", "token recognition error"),
        ("[1].all(1, true)", "argument must be a simple name"),
        ("1.all(x, true)", "expression of type 'int' cannot be range of a comprehension"),
        ("[1].all(x, x)", "expected type 'bool' but found 'int'"),
        ("'a'.matches('[')", "invalid matches argument: error parsing regexp"),
        ("for == 1", "reserved identifier: for"),
        ("9223372036854775808", "invalid int literal"),
        ("true\n&& x", "ERROR: <input>:2:4: undeclared reference to 'x' (in container '')\n | && x\n | ...^"),
    ],
)
def test_what_does_not_compile_says_where(source: str, why: str) -> None:
    with pytest.raises(CompileError) as failure:
        ENVIRONMENT.compile(source)
    assert str(failure.value).startswith("compilation failed: ")
    assert why in str(failure.value)


@pytest.mark.parametrize(
    "source",
    [
        "".join(f"[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].all({name}, " for name in "abcdefg") + "true" + ")" * 7,
        "cel.bind(a, self.name.replace('', self.name), "
        + "".join(
            f"cel.bind({after}, {before} + {before}, "
            for before, after in zip("abcdefghijklm", "bcdefghijklmn", strict=True)
        )
        + "n + n == n"
        + ")" * 14,
    ],
)
def test_an_expression_that_would_run_for_long_is_stopped(source: str) -> None:
    with pytest.raises(OverBudget, match="actual cost limit exceeded"):
        value_of(source, {"self": {"name": "x" * 1000}})


def test_no_operator_absorbs_the_end_of_the_budget() -> None:
    budget = Budget(left=100)
    with pytest.raises(OverBudget):
        ENVIRONMENT.compile("self.items.all(x, x.all(y, y > 0)) || true").evaluate(
            {"self": {"items": [[1] * 100] * 100}}, budget
        )
    assert budget.is_spent


@pytest.mark.parametrize(
    "source", ["(" * 100 + "1" + ")" * 100, "!" * 7 + "-" * 99 + "!" * 99 + "true", "1" + "+1" * 99, "[" * 99]
)
def test_deep_expressions_are_refused(source: str) -> None:
    with pytest.raises(CompileError):
        ENVIRONMENT.compile(source)


def test_a_long_chain_is_not_deep() -> None:
    assert value_of("&&".join(["self.on"] * 2000)) is True


_WORDS = st.sampled_from(
    ["self", "self.name", "self.ports", "x", "1", "2.5", "'a'", "null", "true", "[", "]", "(", ")", "{", "}", ".", ",", ":",
     "?", "+", "-", "*", "/", "%", "==", "<", "in", "&&", "||", "!", "all(x,", "map(x,", "size()", "has(", "matches(", "dyn(",
     "string(", "int(", "duration(", "[?", ".?", "format(", "optional.of(", "orValue(", "quantity(", "9223372036854775807",
     "'\\", "1u", "b'a'", "sets.contains(", "cel.bind(", "transformMap(k, v,"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(_WORDS, max_size=12), _JSON)
def test_no_text_and_no_value_ends_in_anything_but_a_result_or_a_reason(words: list[str], value: Any) -> None:
    with contextlib.suppress(CelError, CompileError):
        ENVIRONMENT.compile(" ".join(words)).evaluate({"self": {"name": value, "ports": [value]}}, Budget(20_000))


def _expressions() -> st.SearchStrategy[str]:
    atoms = st.sampled_from(
        ["0", "1", "-3", "2.5", "1u", "'a'", "'ab'", "true", "false", "null", "[1, 2]", "['a']", "{'a': 1}", "b'x'"]
    )

    def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        operators = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "in", "&&", "||"])
        return (
            st.tuples(inner, operators, inner).map(lambda parts: f"({' '.join(parts)})")
            | st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} ? {parts[1]} : {parts[2]})")
            | inner.map(lambda part: f"!{part}")
            | inner.map(lambda part: f"size({part})")
            | st.tuples(inner, inner).map(lambda parts: f"[{parts[0]}].all(x, x == {parts[1]})")
            | st.tuples(inner, inner).map(lambda parts: f"[dyn({parts[0]}), dyn({parts[1]})].exists(x, x == 1)")
            | st.tuples(inner, inner).map(lambda parts: f"[{parts[0]}].map(x, {parts[1]})")
        )

    return st.recursive(atoms, grown, max_leaves=6)


@given(_expressions())
def test_results_are_those_of_the_official_implementation(source: str) -> None:
    cel = pytest.importorskip("cel_expr_python.cel")
    try:
        wanted = cel.NewEnv(variables={}).compile(source).eval()
    except Exception:  # noqa: BLE001 (its errors have no class of their own)
        return  # it refuses comparisons of numbers of different types, which Kubernetes allows
    if wanted.type() == cel.Type.ERROR:
        with pytest.raises((CelError, CompileError)):
            value_of(source)
        return
    assert _same(value_of(source), wanted.plain_value())


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float) and math.isnan(ours):
        return math.isnan(theirs)
    return bool(ours == theirs)
