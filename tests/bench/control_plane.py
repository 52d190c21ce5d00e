"""The server role alone, as a process: what `api_bench` measures.  usage: python -m tests.bench.control_plane STATE"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from cluster.base.collector import spare_what_is_loaded
from cluster.base.log import configure
from cluster.config import create_settings, free_port
from cluster.control_plane import ControlPlane
from cluster.machine import machine_ports


async def serve(state: Path) -> None:
    port = free_port(6443, host="127.0.0.1")
    settings = create_settings(state, cluster_id="apibench", runtime="simulated", api_port=port)
    plane = ControlPlane(settings, machine_ports(settings))
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await plane.start()
    spare_what_is_loaded()
    print("ready", flush=True)
    await stopping.wait()
    await plane.stop()


if __name__ == "__main__":
    configure(level="WARNING")
    asyncio.run(serve(Path(sys.argv[1])))
