"""Images from a private registry: who gets them, when they are asked for again, and what never shows in public."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.machinery.objects import Obj
from cluster.resources.builtin import SECRETS
from tests.real.kubelet.conftest import DockerNode
from tests.real.kubelet.registry import PASSWORD, USER, Registry, docker_config, pull_secret
from tests.real.kubelet.shapes import ready, status_of, waits_for

pytestmark = [
    pytest.mark.needs("docker", "root", "busybox", "docker-registry"),
    pytest.mark.asyncio(loop_scope="package"),
]

WRONG = "wrong-horse"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    directory: Path = tmp_path_factory.mktemp("registry")
    made = Registry(directory)
    try:
        yield made
    finally:
        made.stop()


def shown(node: DockerNode, name: str, pod: Obj) -> str:
    """Everything others can read of the pod and its node."""
    return f"{pod} {node.said.of(name)} {node.logged}"


async def test_a_pull_secret_opens_a_private_registry_and_shows_nowhere(shared: DockerNode, registry: Registry) -> None:
    image = registry.push(shared.image, "private:1")
    await shared.api.create(SECRETS, pull_secret("registry", registry.address, PASSWORD))
    try:
        await shared.create("private", {"image": image}, imagePullSecrets=[{"name": "absent"}, {"name": "registry"}])
        pod = await shared.until("private", ready)
        assert status_of(pod)["image"] == image
        assert [reason for reason, _ in shared.said.of("private")][:2] == ["Pulling", "Pulled"]
        header = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        for secret in (PASSWORD, header, base64.b64encode(docker_config(registry.address, PASSWORD).encode()).decode()):
            assert secret not in shown(shared, "private", pod)
            container = status_of(pod)["containerID"].removeprefix("docker://")
            assert secret not in str(await shared.engine.inspect(container))
        await shared.delete("private")
    finally:
        registry.forget(image)


async def test_a_wrong_pull_secret_is_told_waited_for_and_shows_nowhere(shared: DockerNode, registry: Registry) -> None:
    image = registry.push(shared.image, "guarded:1")
    await shared.api.create(SECRETS, pull_secret("wrong", registry.address, WRONG))
    await shared.create("guarded", {"image": image}, imagePullSecrets=[{"name": "wrong"}])
    first = await shared.until("guarded", waits_for("ErrImagePull"))
    pod = await shared.until("guarded", waits_for("ImagePullBackOff"))
    reasons = [reason for reason, _ in shared.said.of("guarded")]
    assert reasons[:3] == ["Pulling", "Failed", "Failed"]
    assert "BackOff" in reasons
    assert pod["status"]["phase"] == "Pending"
    header = base64.b64encode(f"{USER}:{WRONG}".encode()).decode()
    for secret in (WRONG, header):
        assert secret not in shown(shared, "guarded", first) + shown(shared, "guarded", pod)
    await shared.delete("guarded")


async def test_policies_say_whether_the_registry_is_asked(shared: DockerNode, registry: Registry) -> None:
    image = registry.push(shared.image, "policies:1")
    secret = {"imagePullSecrets": [{"name": "policy"}]}
    await shared.api.create(SECRETS, pull_secret("policy", registry.address, PASSWORD))
    try:
        await shared.create("too-early", {"image": image, "imagePullPolicy": "Never"}, **secret)
        await shared.until("too-early", waits_for("ErrImageNeverPull"))
        await shared.create("absent", {"image": image, "imagePullPolicy": "IfNotPresent"}, **secret)
        await shared.until("absent", ready)
        await shared.create("never", {"image": image, "imagePullPolicy": "Never"}, **secret)
        await shared.create("present", {"image": image, "imagePullPolicy": "IfNotPresent"}, **secret)
        await shared.create("always", {"image": image, "imagePullPolicy": "Always"}, **secret)
        # What is on this machine may not be had by asking with the wrong key: Always asks the registry.
        await shared.create("always-refused", {"image": image, "imagePullPolicy": "Always"})
        await shared.until("never", ready)
        await shared.until("present", ready)
        await shared.until("always", ready)
        await shared.until("always-refused", waits_for("ErrImagePull"))
        # Each once: a refused pull is tried again.
        said = {name: dict.fromkeys(reason for reason, _ in shared.said.of(name)) for name in POLICIES}
        assert {name: [r for r in reasons if r in ("Pulling", "Pulled")] for name, reasons in said.items()} == POLICIES
        for name in ("too-early", *POLICIES):
            await shared.delete(name)
    finally:
        registry.forget(image)


POLICIES = {
    "never": ["Pulled"],
    "absent": ["Pulling", "Pulled"],
    "present": ["Pulled"],
    "always": ["Pulling", "Pulled"],
    "always-refused": ["Pulling"],
}


async def test_an_image_that_is_not_there_and_a_name_that_is_none_are_told_apart(
    shared: DockerNode, registry: Registry
) -> None:
    await shared.create("nameless", {"image": "UPPER/case:1"})
    await shared.create("missing", {"image": f"{registry.address}/nothing:1"})
    await shared.until("nameless", waits_for("InvalidImageName"))
    await shared.until("missing", waits_for("ErrImagePull"))
    await shared.delete("nameless")
    await shared.delete("missing")
