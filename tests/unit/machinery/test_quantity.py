"""Quantities are exact and print as upstream prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.quantity import (
    Format,
    Quantity,
    QuantityError,
    bytes_of,
    canonical,
    millicores_of,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("100k", "100k"), ("1e3", "1e3"),
        ("0.1Ki", "102400m"), ("1023", "1023"), ("0", "0"), ("-1.5", "-1500m"), ("+2", "2"), (".5", "500m"), ("5.", "5"),
        (2, "2"), (0.25, "250m"), ("1.1u", "1100n"), ("0.0000000001", "1n"), ("12E", "9223372036854775807"),
        ("1E5", "100e3"), ("512Ki", "512Ki"), ("1000Ki", "1000Ki"), ("1e-3", "1e-3"), ("1e9999", "9223372036854775807"),
    ],
)  # fmt: skip
def test_the_canonical_form(text, shown):
    assert canonical(text) == shown


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1 Gi", "1gi", "abc", "Gi", "--1", "1e", "1KI", ".", "0x10", "1" * 300, "١"]
)
def test_what_is_not_a_quantity_is_refused(text):
    with pytest.raises(QuantityError):
        parse_quantity(text)


def test_accessors_round_up():
    assert millicores_of("0.0001") == 1
    assert millicores_of("1.5") == 1500
    assert bytes_of("1.5Ki") == 1536
    assert bytes_of("1500m") == 2


def test_quantities_compare_by_amount_and_add():
    assert parse_quantity("1Gi") == parse_quantity("1073741824") > parse_quantity("1G")
    assert str(parse_quantity("1Gi") + parse_quantity("1Mi")) == "1025Mi"
    assert str(parse_quantity("2") - parse_quantity("500m")) == "1500m"


@given(st.integers(-(10**24), 10**24), st.sampled_from(Format))
def test_the_canonical_form_parses_to_the_same_amount(nanos, form):
    quantity = Quantity(nanos, form)
    assert parse_quantity(str(quantity)) == quantity
    # A binary amount that no binary suffix expresses is written plainly, and read back as a decimal one (as upstream).
    if form is not Format.BINARY:
        assert str(parse_quantity(str(quantity))) == str(quantity)
