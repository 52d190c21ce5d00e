"""Whole numbers are ASCII digits, few enough to be read."""

from __future__ import annotations

import pytest

from cluster.machinery.numbers import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("65535", 65535), ("9" * 18, 10**18 - 1)])
def test_digits_are_their_number(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1.0", "1e3", "nan", "²", "٣", "1_0", "0x1", "9" * 19, "9" * 5000]
)
def test_anything_else_is_none(text):
    assert whole_number(text) is None
