"""The pure parts of the Docker engine: configurations, frames, versions, names, instants."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.client.node_channel import Chunk
from cluster.kubelet.runtime.api import ContainerSpec, EngineError, Image, Mount, RegistryAuth, State
from cluster.kubelet.runtime.docker import container_of, instant_of
from cluster.kubelet.runtime.docker_api import agree_on_version
from cluster.kubelet.runtime.docker_config import HOSTNAME, MANAGED, container_config
from cluster.kubelet.runtime.docker_images import registry_auth_header, split_image
from cluster.kubelet.runtime.docker_streams import FrameDecoder
from cluster.kubelet.runtime.sandbox import command_of, start_path
from cluster.kubelet.runtime.sandbox_image import sandbox_image

SPEC = ContainerSpec(name="c", image="i", labels={"a": "b"})


def test_a_sandbox_has_no_network_and_a_shareable_ipc_namespace() -> None:
    config = container_config(ContainerSpec(name="s", image="i", labels={}, hostname="h"), "home")
    assert config["HostConfig"]["NetworkMode"] == "none"
    assert config["HostConfig"]["IpcMode"] == "shareable"
    assert config["Hostname"] == "h"
    assert config["Labels"] == {MANAGED: "home"}


def test_a_joining_container_asks_for_no_host_name_but_records_it() -> None:
    config = container_config(ContainerSpec(name="c", image="i", labels={}, sandbox_id="s1", hostname="h"), "home")
    assert config["HostConfig"]["NetworkMode"] == config["HostConfig"]["IpcMode"] == "container:s1"
    assert "Hostname" not in config
    assert config["Labels"][HOSTNAME] == "h"


def test_a_plain_container_is_given_no_privilege() -> None:
    host = container_config(SPEC, "home")["HostConfig"]
    assert host["Privileged"] is False
    assert host["CapAdd"] == host["SecurityOpt"] == []
    assert host["PidMode"] == ""


def test_the_spec_cannot_give_away_our_label() -> None:
    config = container_config(ContainerSpec(name="c", image="i", labels={MANAGED: "other"}), "home")
    assert config["Labels"][MANAGED] == "home"


def test_limits_and_security_reach_the_engine() -> None:
    spec = ContainerSpec(
        name="c",
        image="i",
        labels={},
        no_new_privileges=True,
        seccomp="unconfined",
        memory_limit_bytes=1 << 20,
        cpu_quota_us=50_000,
        supplemental_groups=(5,),
        mounts=(Mount("/a", "/b", read_only=True),),
    )
    host = container_config(spec, "home")["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges", "seccomp=unconfined"]
    assert (host["Memory"], host["MemorySwap"]) == (1 << 20, 1 << 20)
    assert (host["CpuPeriod"], host["CpuQuota"]) == (100_000, 50_000)
    assert host["GroupAdd"] == ["5"]
    assert host["Mounts"][0]["ReadOnly"] is True


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=6),
    st.lists(st.integers(1, 9), min_size=1, max_size=50),
)
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    wire = b"".join(bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data for stream, data in frames)
    decoder = FrameDecoder()
    chunks: list[Chunk] = []
    at = 0
    for index in range(len(wire) + 1):
        size = cuts[index % len(cuts)]
        chunks += decoder.feed(wire[at : at + size])
        at += size
    for stream in (1, 2):
        got = b"".join(chunk.data for chunk in chunks if chunk.stream == stream)
        assert got == b"".join(data for number, data in frames if number == stream)


def test_what_is_not_a_frame_is_refused() -> None:
    with pytest.raises(EngineError):
        FrameDecoder().feed(b"plain text of a terminal")


@pytest.mark.parametrize(("offered", "agreed"), [("1.41", "1.41"), ("1.99", "1.47"), ("1.24", "1.24"), ("2.0", "1.47")])
def test_the_newest_version_both_know_is_used(offered: str, agreed: str) -> None:
    assert agree_on_version(offered) == agreed


@pytest.mark.parametrize("offered", ["1.23", "", "x.y"])
def test_another_server_or_an_ancient_engine_is_refused(offered: str) -> None:
    with pytest.raises(EngineError):
        agree_on_version(offered)


@pytest.mark.parametrize(
    ("image", "name", "tag"),
    [
        ("nginx", "nginx", "latest"),
        ("nginx:1", "nginx", "1"),
        ("host:5000/a/b", "host:5000/a/b", "latest"),
        ("host:5000/a:v", "host:5000/a", "v"),
        ("a@sha256:00", "a@sha256:00", ""),
    ],
)
def test_an_image_is_split_into_name_and_tag(image: str, name: str, tag: str) -> None:
    assert split_image(image) == (name, tag)


def test_credentials_are_encoded_and_never_shown() -> None:
    auth = RegistryAuth("r", username="u", password="secret")
    assert "secret" not in repr(auth)
    assert registry_auth_header(auth) == "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InNlY3JldCIsInNlcnZlcmFkZHJlc3MiOiJyIn0="


def test_instants_have_any_number_of_digits_and_zero_is_none() -> None:
    assert instant_of("2024-01-02T03:04:05.123456789Z") == datetime(2024, 1, 2, 3, 4, 5, 123456, UTC)
    assert instant_of("2024-01-02T03:04:05.12Z") == datetime(2024, 1, 2, 3, 4, 5, 120000, UTC)
    assert instant_of("0001-01-01T00:00:00Z") is None


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Running": False, "StartedAt": "0001-01-01T00:00:00Z"}, State.CREATED),
        ({"Running": True, "StartedAt": "2024-01-02T03:04:05Z", "Pid": 7}, State.RUNNING),
        ({"Running": False, "StartedAt": "2024-01-02T03:04:05Z"}, State.EXITED),
        (
            {"Running": False, "StartedAt": "0001-01-01T00:00:00Z", "Error": "no such file", "ExitCode": 127},
            State.EXITED,
        ),
    ],
)
def test_a_state_is_read_from_what_docker_tells(state: dict[str, object], expected: State) -> None:
    inspected = {
        "Id": "1",
        "Name": "/n",
        "Image": "sha256:1",
        "Created": "2024-01-02T03:04:05Z",
        "Config": {"Image": "i", "Labels": None},
        "State": {"Pid": 0, "ExitCode": 0, "FinishedAt": "0001-01-01T00:00:00Z", **state},
    }
    container = container_of(inspected)
    assert (container.state, container.name) == (expected, "n")


IMAGE = Image(id="1", tags=(), digests=(), size_bytes=0, entrypoint=("e",), command=("c",))


@pytest.mark.parametrize(
    ("entrypoint", "args", "command"),
    [(None, None, ("e", "c")), (None, ("a",), ("e", "a")), (("x",), None, ("x",)), (("x",), ("a",), ("x", "a"))],
)
def test_a_command_is_the_pods_or_else_the_images(
    entrypoint: tuple[str, ...] | None, args: tuple[str, ...] | None, command: tuple[str, ...]
) -> None:
    spec = ContainerSpec(name="c", image="i", labels={}, entrypoint=entrypoint, args=args)
    assert command_of(spec, IMAGE) == command


def test_the_program_is_not_mounted_into_a_dev_of_the_hosts() -> None:
    assert start_path(SPEC) == "/dev/.reconciler-start"
    assert start_path(ContainerSpec(name="c", image="i", labels={}, mounts=(Mount("/dev", "/dev/"),))) == (
        "/.reconciler-start"
    )


def test_the_sandbox_image_is_named_by_cluster_and_content() -> None:
    image = sandbox_image("rt-unit", "x86_64")
    assert image.name.startswith("reconciler.local/rt-unit/sandbox:")
    assert image.tar() == sandbox_image("rt-unit", "amd64").tar()
    with pytest.raises(ValueError, match="cluster id"):
        sandbox_image("Not Fit", "x86_64")
