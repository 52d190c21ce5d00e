"""What no committed file says: where packages come from, and paths of the machine it was written on."""

from __future__ import annotations

import re

import pytest

from tests.tidy.tree import committed, is_text, text_of

# Put together here, so that this file does not say them either.
REGISTRIES = [".".join(words) for words in (
    ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("crates", "io"), ("rubygems", "org"),
    ("proxy", "golang", "org"), ("maven", "org"), ("anaconda", "org"),
)]  # fmt: skip
MACHINE_PATHS = "|".join(("/wo" + "rk/(?:main|wt|shared|briefs|venv)", "/ho" + "me/[a-z]", "/Us" + "ers/"))


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_file_names_a_package_registry(host: str) -> None:
    assert not [str(path) for path in committed() if is_text(path) and host in text_of(path).lower()]


def test_no_file_names_a_path_of_a_machine() -> None:
    found = re.compile(rf"(?<![\w./}}-])(?:{MACHINE_PATHS})")
    assert not [
        f"{path}: {line.strip()}"
        for path in committed()
        if is_text(path)
        for line in text_of(path).splitlines()
        if found.search(line)
    ]
