"""How long a pod's container takes to run: into a warm sandbox, against `docker run -d`, in turns and in one run.

Run it alone: `python -m tests.bench.sandbox_bench [ROUNDS]`.  It prints medians in milliseconds and their ratio.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from cluster.base.entropy import SystemEntropy
from cluster.base.http_client import HttpClient, UnixConnector
from cluster.kubelet.network.bridge import BridgeNetwork, BridgeSettings
from cluster.kubelet.runtime import namespaces
from cluster.kubelet.runtime.api import ContainerSpec, SandboxNeeds
from cluster.kubelet.runtime.docker import DockerEngine
from cluster.kubelet.runtime.docker_api import DockerApi
from cluster.kubelet.runtime.docker_images import DockerImages, NoCredentials
from cluster.kubelet.runtime.sandbox import PoolSettings, SandboxPool
from cluster.kubelet.runtime.sandbox_image import sandbox_image

ROUNDS = 8
CIDR = "10.244.214.0/26"


async def measure(rounds: int) -> dict[str, list[float]]:
    cluster_id = f"rt-bench-{uuid.uuid4().hex[:8]}"
    client = HttpClient(UnixConnector("/var/run/docker.sock"))
    api = DockerApi(client)
    engine = DockerEngine(api, cluster_id=cluster_id, set_hostname=namespaces.set_hostname)
    images = DockerImages(api, credentials=NoCredentials())
    network = BridgeNetwork(BridgeSettings(cluster_id, CIDR))
    made = sandbox_image(cluster_id, platform.machine())
    taken: dict[str, list[float]] = {"warm": [], "warm with network": [], "docker run -d": []}
    with tempfile.TemporaryDirectory() as directory:
        settings = PoolSettings(cluster_id, Path(directory), platform.machine(), warm_min=2, warm_max=2)
        pool = SandboxPool(settings, engine=engine, images=images, host_names=namespaces, entropy=SystemEntropy())
        try:
            await pool.adopt()
            await network.setup()
            image = await images.find(made.name)
            if image is None:
                raise RuntimeError("adoption did not make the sandbox image")
            for number in range(rounds):
                for kind in ("warm", "warm with network"):
                    await pool.fill()
                    uid = f"{kind.replace(' ', '-')}-{number}"
                    begun = time.perf_counter()
                    sandbox = await pool.acquire(
                        uid, "bench", f"p{number}", hostname=f"p{number}", needs=SandboxNeeds()
                    )
                    if kind != "warm":
                        await network.attach(uid, pid=sandbox.pid)
                    spec = ContainerSpec(name=f"{cluster_id}-{uid}", image=made.name, labels={})
                    container_id = await engine.create(pool.joining(spec, sandbox, image))
                    await engine.start(container_id)
                    taken[kind].append(1000 * (time.perf_counter() - begun))
                    await engine.remove(container_id)
                    await network.detach(uid)
                    await pool.release(uid)
                name = f"{cluster_id}-peer-{number}"
                begun = time.perf_counter()
                await asyncio.to_thread(
                    subprocess.run, ["docker", "run", "-d", "--name", name, made.name], check=True, capture_output=True
                )
                taken["docker run -d"].append(1000 * (time.perf_counter() - begun))
                await engine.remove(name)
        finally:
            for container in await engine.list():
                await engine.remove(container.id)
            await network.purge()
            await pool.purge()
            await client.close()
    return taken


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    medians = {kind: statistics.median(values) for kind, values in asyncio.run(measure(rounds)).items()}
    peer = medians["docker run -d"]
    for kind, median in medians.items():
        print(f"{kind:20} {median:7.1f} ms   {median / peer:5.2f} of docker run -d")


if __name__ == "__main__":
    main()
