from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.kubelet.host import SystemHost
from cluster.kubelet.host_ports import HostPorts, HostPortTaken, host_ports_of
from cluster.machinery.objects import Key
from cluster.resources.builtin import PODS
from cluster.simulation.host import SimulatedHost
from tests.unit.kubelet.node import node
from tests.unit.kubelet.shapes import container, pod
from tests.unit.kubelet.test_kubelet import gone, ready


def with_ports(*ports: dict[str, object], **spec: object) -> dict[str, object]:
    return pod(container(ports=list(ports)), **spec)


@pytest.fixture
def foreign() -> Iterator[int]:
    """A port that another program of this host listens on."""
    with socket.socket() as program:
        program.bind(("127.0.0.1", 0))
        program.listen()
        yield program.getsockname()[1]


def can_bind(port: int) -> bool:
    with socket.socket() as other:
        try:
            other.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def test_the_ports_of_a_pod_are_read_from_all_that_keep_running() -> None:
    sidecar = container("side", restartPolicy="Always", ports=[{"containerPort": 1, "hostPort": 53, "protocol": "UDP"}])
    init = container("once", ports=[{"containerPort": 1, "hostPort": 2}])
    ports = [{"containerPort": 1}, {"containerPort": 80, "hostPort": 8080, "hostIP": "192.0.2.1"}]
    subject = pod(container(ports=ports), initContainers=[init, sidecar])
    assert host_ports_of(subject) == (("0.0.0.0", "UDP", 53), ("192.0.2.1", "TCP", 8080))
    assert host_ports_of({**subject, "spec": {**subject["spec"], "hostNetwork": True}}) == ()


def test_a_held_port_is_nobody_elses_until_it_is_let_go(foreign: int) -> None:
    ports = HostPorts(SystemHost())
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        free = probe.getsockname()[1]
    subject = with_ports(
        {"containerPort": 1, "hostPort": free}, {"containerPort": 2, "hostPort": free, "protocol": "UDP"}
    )
    ports.claim(subject)
    ports.claim(subject)
    assert not can_bind(free)
    ports.release("uid-1")
    ports.release("uid-1")
    assert can_bind(free)


def test_a_port_of_another_program_is_refused_and_nothing_is_kept(foreign: int) -> None:
    ports = HostPorts(SystemHost())
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        free = probe.getsockname()[1]
    subject = with_ports({"containerPort": 1, "hostPort": free}, {"containerPort": 2, "hostPort": foreign})
    with pytest.raises(HostPortTaken, match=f"cannot take host port {foreign}/TCP: Address already in use"):
        ports.claim(subject)
    assert can_bind(free)


def test_two_pods_cannot_have_one_port() -> None:
    ports = HostPorts(SimulatedHost("n1", "192.0.2.1"))
    one = with_ports({"containerPort": 1, "hostPort": 80})
    two = {**one, "metadata": {**one["metadata"], "uid": "uid-2"}}  # type: ignore[dict-item]
    ports.claim(one)
    with pytest.raises(HostPortTaken):
        ports.claim(two)
    ports.release("uid-1")
    ports.claim(two)


async def test_a_pod_waits_for_a_port_in_use_and_starts_when_it_is_free(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        machine.host.listening.add(("TCP", 8080))
        await machine.create(with_ports({"containerPort": 80, "hostPort": 8080}))
        await machine.until(lambda seen: "FailedCreatePodSandBox" in machine.said.reasons)
        assert "cannot take host port 8080/TCP: Address already in use" in str(machine.said.events)
        assert await machine.engine.list() == []
        machine.host.listening.clear()
        await machine.until(ready)
        assert machine.host.listening == {("TCP", 8080)}
        await machine.restart()
        await machine.step()
        assert machine.host.listening == {("TCP", 8080)}
        await machine.api.delete(PODS, Key("default", "web"))
        await gone(machine)
        assert machine.host.listening == set()
