"""A served cluster of the attackers' own: what they break must not fail other tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.clients.served import Server, serving


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("attacked")) as served:
        yield served
