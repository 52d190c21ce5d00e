"""A kubectl from before 1.30: its sessions and forwarded ports are SPDY on the connection itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from tests.conftest import older_kubectl
from tests.real.apiserver.test_kubectl import Kubectl, Outcome, ok

pytestmark = pytest.mark.needs("older-kubectl")

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
}


@pytest.fixture
async def kubectl(kubeconfig: Path, tmp_path: Path) -> Kubectl:
    async def run(*arguments: str, stdin: str = "") -> Outcome:
        process = await asyncio.create_subprocess_exec(
            older_kubectl(),
            *arguments,
            env={"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin.encode())
        return Outcome(process.returncode or 0, out.decode(), err.decode())

    await ok(run("create", "-f", "-", stdin=orjson.dumps(POD).decode()))
    await ok(run("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Running"}}'))
    return run


async def test_a_session_carries_input_output_and_the_exit_code(kubectl: Kubectl) -> None:
    large = "hello " * 100_000
    echoed = await kubectl("exec", "-i", "p", "--", "cat", stdin=large)
    assert (echoed.code, echoed.out == large) == (3, True), echoed.err


async def test_a_command_that_cannot_be_started_says_why(kubectl: Kubectl) -> None:
    refused = await kubectl("exec", "p", "--", "absent")
    assert refused.code == 1
    assert "no such program" in refused.err


async def test_ports_are_forwarded(kubectl: Kubectl, kubeconfig: Path, tmp_path: Path) -> None:
    forwarding = await asyncio.create_subprocess_exec(
        older_kubectl(),
        "port-forward",
        "p",
        ":80",
        env={"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert forwarding.stdout is not None
        async with asyncio.timeout(30):
            said = (await forwarding.stdout.readline()).decode()
            port = int(said.split("127.0.0.1:")[1].split()[0])
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"hello")
                assert await reader.read(100) == b"HELLO"
                writer.close()
    finally:
        forwarding.terminate()
        await forwarding.wait()
