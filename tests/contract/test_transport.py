"""The Transport suite over the in-process transport."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cluster.client.transport import Transport
from tests.apiservers import ADMIN, running
from tests.contract.transport_suite import TransportSuite


class TestInProcessTransport(TransportSuite):
    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        async with running() as server:
            yield server.transport(ADMIN)
