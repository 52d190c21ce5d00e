"""Entry to containers: logs, commands, terminals and ports."""

from __future__ import annotations

import asyncio

import pytest

from cluster.client.node_channel import ExecSession
from cluster.machinery.errors import ApiError, BadRequest, NotFound
from tests.real.kubelet.conftest import DockerNode, ref
from tests.real.kubelet.shapes import PATIENT, phase, ready, script

pytestmark = [pytest.mark.needs("docker", "root", "busybox"), pytest.mark.asyncio(loop_scope="package")]


async def read_until(session: ExecSession, wanted: bytes) -> bytes:
    """What it writes up to `wanted`."""
    seen = b""
    async with asyncio.timeout(20):
        async for chunk in session.output():
            seen += chunk.data
            if wanted in seen:
                return seen
    raise AssertionError(seen)


async def test_logs_are_cut_as_asked(shared: DockerNode) -> None:
    text = "for n in 1 2 3 4 5; do echo line $n; done; echo problem; sleep 1.5; echo late"
    await shared.create("logs", script(text), restartPolicy="Never")
    pod = await shared.until("logs", phase("Succeeded"))
    assert await shared.logs(pod, tail_lines=2) == "problem\nlate\n"
    assert await shared.logs(pod, tail_lines=0) == ""
    assert await shared.logs(pod, limit_bytes=9) == "line 1\nli"
    stamped = (await shared.logs(pod, timestamps=True)).splitlines()
    stamps = [line.partition(" ")[0] for line in stamped]
    assert [line.partition(" ")[2] for line in stamped][-2:] == ["problem", "late"]
    assert stamps == sorted(stamps)
    assert await shared.logs(pod, since_time=stamps[-1]) == "late\n"
    assert await shared.logs(pod, since_s=3600) == "".join(f"line {n}\n" for n in range(1, 6)) + "problem\nlate\n"
    with pytest.raises(BadRequest, match="previous terminated container"):
        await shared.logs(pod, previous=True)
    with pytest.raises(ApiError):
        await shared.logs(pod, "none")
    await shared.delete("logs")


async def test_following_ends_with_the_container(shared: DockerNode) -> None:
    await shared.create("follow", script("for n in 1 2 3; do echo $n; sleep 0.3; done"), restartPolicy="Never")
    pod = await shared.until("follow", lambda pod: pod["status"]["phase"] in ("Running", "Succeeded"))
    async with asyncio.timeout(20):
        assert await shared.logs(pod, follow=True) == "1\n2\n3\n"
    await shared.delete("follow")


async def test_a_command_says_how_it_ended_and_keeps_its_streams_apart(shared: DockerNode) -> None:
    await shared.create("exec", script(PATIENT))
    pod = await shared.until("exec", ready)
    assert await shared.outcome(pod, "sh", "-c", "exit 42") == (42, "")
    assert (await shared.outcome(pod, "sh", "-c", "kill -9 $$"))[0] == 137
    assert (await shared.outcome(pod, "no-such-program"))[0] in (126, 127)
    session = await shared.channel.exec(
        ref(pod), ("sh", "-c", "cat; echo err >&2"), stdin=True, stdout=True, stderr=True, tty=False
    )
    await session.send(b"some input\n")
    await session.close_stdin()
    streams = {1: b"", 2: b""}
    async for chunk in session.output():
        streams[chunk.stream] += chunk.data
    assert streams == {1: b"some input\n", 2: b"err\n"}
    assert await session.wait() == 0
    await session.close()
    with pytest.raises(NotFound):
        await shared.run(pod, "ls", container="none")
    await shared.delete("exec")


async def test_a_terminal_has_the_size_it_was_given(shared: DockerNode) -> None:
    await shared.create("terminal", script(PATIENT))
    pod = await shared.until("terminal", ready)
    session = await shared.channel.exec(ref(pod), ("sh",), stdin=True, stdout=True, stderr=False, tty=True)
    await session.resize(97, 31)
    await session.send(b"stty size; exit 5\n")
    assert b"31 97" in await read_until(session, b"31 97")
    async for _ in session.output():
        pass
    assert await session.wait() == 5
    await session.close()
    await shared.delete("terminal")


async def test_attaching_reaches_the_program_itself(shared: DockerNode) -> None:
    await shared.create("attach", {**script("while read line; do echo got $line; done"), "stdin": True})
    pod = await shared.until("attach", ready)
    session = await shared.channel.attach(ref(pod), stdin=True, stdout=True, stderr=True, tty=False)
    await session.send(b"hello\n")
    assert b"got hello\n" in await read_until(session, b"got hello\n")
    await session.close()
    assert "got hello\n" in await shared.logs(pod)
    await shared.delete("attach")


async def test_a_forwarded_port_reaches_what_listens_on_the_pods_loopback_too(shared: DockerNode) -> None:
    serve = "echo hi > /tmp/index.html; httpd -p {address}:{port} -h /tmp"
    text = "; ".join(serve.format(address=a, port=p) for a, p in (("127.0.0.1", 8081), ("0.0.0.0", 8082)))
    await shared.create("ports", script(f"{text}; {PATIENT}"))
    pod = await shared.until("ports", ready)
    for port in (8081, 8082):
        stream = await shared.channel.connect(ref(pod), port)
        await stream.write(b"GET /index.html HTTP/1.0\r\n\r\n")
        answer = b""
        while data := await stream.read():
            answer += data
        await stream.close()
        assert answer.endswith(b"hi\n")
    with pytest.raises(BadRequest, match="connection refused"):
        await shared.channel.connect(ref(pod), 8083)
    await shared.delete("ports")
