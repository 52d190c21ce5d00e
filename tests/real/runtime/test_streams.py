"""Logs, exec and attach on a real Docker engine."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cluster.client.node_channel import Chunk, ExecSession
from cluster.kubelet.runtime.api import ContainerSpec, EngineError, NoSuchContainer
from tests.real.runtime.conftest import Host

pytestmark = pytest.mark.needs("docker", "root", "busybox")


async def started(host: Host, script: str, *, tty: bool = False, stdin: bool = False) -> str:
    spec = ContainerSpec(
        name=f"{host.cluster_id}-plain",
        image=host.image,
        labels={},
        entrypoint=("sh", "-c", script),
        tty=tty,
        stdin=stdin,
    )
    container_id = await host.engine.create(spec)
    await host.engine.start(container_id)
    return container_id


async def lines(host: Host, container_id: str, **options: object) -> list[str]:
    asked = {"follow": False, "since": None, "tail_lines": None, "timestamps": False, **options}
    chunks = host.streams.logs(container_id, **asked)  # type: ignore[arg-type]
    return b"".join([chunk.data async for chunk in chunks]).decode().splitlines()


async def finished(session: ExecSession) -> tuple[dict[int, bytes], int]:
    output: dict[int, bytes] = {}
    async for chunk in session.output():
        output[chunk.stream] = output.get(chunk.stream, b"") + chunk.data
    code = await session.wait()
    await session.close()
    return output, code


async def test_logs_keep_both_streams_apart_and_can_be_cut(host: Host) -> None:
    container_id = await started(host, "echo one; echo two >&2; echo three")
    assert sorted(await lines(host, container_id, follow=True)) == ["one", "three", "two"]
    streams = host.streams.logs(container_id, follow=False, since=None, tail_lines=None, timestamps=False)
    assert {chunk async for chunk in streams} == {Chunk(1, b"one\n"), Chunk(2, b"two\n"), Chunk(1, b"three\n")}
    assert len(await lines(host, container_id, tail_lines=1)) == 1
    assert await lines(host, container_id, tail_lines=0) == []
    stamp, _, _ = (await lines(host, container_id, timestamps=True))[0].partition(" ")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(stamp)) < timedelta(minutes=1)
    assert await lines(host, container_id, since=datetime.now(UTC) + timedelta(minutes=1)) == []
    assert len(await lines(host, container_id, since=datetime.now(UTC) - timedelta(minutes=5))) == 3


async def test_logs_of_a_terminal_are_not_framed(host: Host) -> None:
    container_id = await started(host, "echo one", tty=True)
    assert await lines(host, container_id, follow=True) == ["one"]


async def test_a_followed_log_can_be_left(host: Host) -> None:
    container_id = await started(host, "echo one; exec sleep 60")
    stream = host.streams.logs(container_id, follow=True, since=None, tail_lines=None, timestamps=False)
    assert (await anext(stream)).data == b"one\n"
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await host.engine.inspect(container_id)).pid > 0


async def test_a_command_reads_its_input_to_the_end_and_tells_its_exit_code(host: Host) -> None:
    container_id = await started(host, "exec sleep 60")
    session = await host.streams.exec(
        container_id, ["sh", "-c", "cat; echo sorry >&2; exit 7"], stdin=True, stdout=True, stderr=True, tty=False
    )
    text = b"x" * 3_000_000
    sending = asyncio.create_task(session.send(text))
    sending.add_done_callback(lambda _: None)

    async def close_after() -> None:
        await sending
        await session.close_stdin()

    closing = asyncio.create_task(close_after())
    output, code = await finished(session)
    await closing
    assert (output[1], output[2], code) == (text, b"sorry\n", 7)


async def test_a_terminal_can_be_resized(host: Host) -> None:
    container_id = await started(host, "exec sleep 60")
    session = await host.streams.exec(
        container_id, ["sh", "-c", "read x; stty size"], stdin=True, stdout=True, stderr=True, tty=True
    )
    await session.resize(101, 33)
    await session.send(b"go\n")
    output, code = await finished(session)
    assert b"33 101" in output[1]
    assert code == 0


async def test_a_command_that_does_not_exist_is_an_error_or_126(host: Host) -> None:
    container_id = await started(host, "exec sleep 60")
    session = await host.streams.exec(container_id, ["/no/such"], stdin=False, stdout=True, stderr=True, tty=False)
    output, code = await finished(session)
    assert code in (126, 127)
    assert b"no such file" in b"".join(output.values())


async def test_attaching_reads_and_writes_the_containers_own_streams(host: Host) -> None:
    container_id = await started(host, "cat; exit 3", stdin=True)
    session = await host.streams.attach(container_id, stdin=True, stdout=True, stderr=True, tty=False)
    await session.send(b"hello")
    await session.close()
    second = await host.streams.attach(container_id, stdin=True, stdout=True, stderr=True, tty=False)
    await second.send(b" again\n")
    chunk = await anext(aiter(second.output()))
    assert chunk.stream == 1
    assert b"again" in chunk.data
    await second.close()


async def test_an_unknown_container_has_no_streams(host: Host) -> None:
    with pytest.raises(NoSuchContainer):
        await lines(host, "0" * 64)
    with pytest.raises(NoSuchContainer):
        await host.streams.exec("0" * 64, ["x"], stdin=False, stdout=True, stderr=True, tty=False)


async def test_a_command_that_cannot_start_and_a_bad_name_say_why(host: Host) -> None:
    spec = ContainerSpec(name=f"{host.cluster_id}-x", image=host.image, labels={}, entrypoint=("/no/such",))
    container_id = await host.engine.create(spec)
    with pytest.raises(EngineError, match="no such file") as caught:
        await host.engine.start(container_id)
    assert caught.value.reason == "RunContainerError"
    with pytest.raises(EngineError) as named:
        await host.engine.create(ContainerSpec(name=f"{host.cluster_id}-y", image="Not//valid", labels={}))
    assert named.value.reason == "InvalidImageName"
    with pytest.raises(EngineError) as pulled:
        await host.images.pull("Not//valid", ())
    assert pulled.value.reason == "InvalidImageName"
