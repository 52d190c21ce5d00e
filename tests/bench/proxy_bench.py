"""What rules cost: a full table and one changed Service, at 100, 1,000 and 5,000 Services with 3 endpoints each.

    python -m tests.bench.proxy_bench        (root, nft, ip; about 10 s)

Time to decide is this process's CPU time; time to apply is wall time of one `nft` run in a namespace of its own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from loguru import logger

from cluster.base.clock import SystemClock
from cluster.base.entropy import SeededEntropy
from cluster.base.tasks import Supervisor
from cluster.proxy.conntrack import ConntrackFlows
from cluster.proxy.diff import Transaction
from cluster.proxy.nft import Installed, NftApplier
from cluster.proxy.proxy import Proxy
from cluster.proxy.ruleset import NodeNetwork
from cluster.resources.builtin import ENDPOINT_SLICES, SERVICES
from tests.real.network.hosts import Host
from tests.unit.proxy.objects import endpoint, endpoint_slice, service
from tests.unit.proxy.parts import DictCache, OpenForwarding

NETWORK = NodeNetwork("bench", "rb-bench", "10.244.0.0/16", "10.244.0.0/24")


class TimedApplier(NftApplier):
    """Sums the wall time spent outside this process."""

    spent_s = 0.0

    async def apply(self, transaction: Transaction) -> None:
        started = time.perf_counter()
        await super().apply(transaction)
        self.spent_s += time.perf_counter() - started

    async def read(self) -> Installed | None:
        started = time.perf_counter()
        found = await super().read()
        self.spent_s += time.perf_counter() - started
        return found


async def measure(count: int) -> None:
    host, cache = Host("b"), DictCache()
    try:
        for number in range(count):
            high, low = divmod(number, 250)
            name = f"s{number}"
            cache.put(SERVICES, service(name, cluster_ip=f"10.96.{high}.{low + 1}"))
            cache.put(ENDPOINT_SLICES, _slice(name, high, 3))
        supervisor = Supervisor(SystemClock())
        applier = TimedApplier(NETWORK.table, commands=host.commands)
        proxy = Proxy(
            network=NETWORK,
            node_name="n1",
            cache=cache,
            applier=applier,
            forwarding=OpenForwarding(),
            flows=ConntrackFlows(host.commands),
            clock=SystemClock(),
            entropy=SeededEntropy(1),
            supervisor=supervisor,
        )
        cpu = time.process_time()
        await proxy.start()
        full_cpu_s, full_s = time.process_time() - cpu, applier.spent_s
        await supervisor.cancel("proxy")  # from here on this function is the loop
        applier.spent_s = 0.0
        cpu = time.process_time()
        changes = 5
        for number in range(changes):
            cache.put(ENDPOINT_SLICES, _slice("s7", 0, 2 + number % 2))
            await proxy.sync()
        one_cpu_s, one_s = (time.process_time() - cpu) / changes, applier.spent_s / changes
        print(
            f"{count:5} services: full {full_cpu_s * 1e3:7.1f} ms cpu + {full_s * 1e3:7.1f} ms nft and read back;"
            f" one change {one_cpu_s * 1e3:6.1f} ms cpu + {one_s * 1e3:5.1f} ms nft"
        )
        await supervisor.stop()
    finally:
        host.close()


def _slice(name: str, group: int, count: int) -> dict[str, Any]:
    return endpoint_slice(name, *(endpoint(f"10.244.{group}.{number + 2}") for number in range(count)))


async def main() -> None:
    for count in (100, 1000, 5000):
        await measure(count)


if __name__ == "__main__":
    logger.remove()
    asyncio.run(main())
