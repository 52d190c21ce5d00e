from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.kubelet.identity import Identity, identity_of, spec_changed, spec_hash_of
from cluster.kubelet.observe import observe
from cluster.kubelet.runtime.api import Container, Sandbox, State

TEXT = st.text(min_size=1, max_size=20)
COUNT = st.integers(0, 10_000)


@given(st.builds(Identity, TEXT, TEXT, TEXT, TEXT, COUNT, TEXT, TEXT, COUNT, COUNT))
def test_labels_carry_the_whole_identity(identity: Identity) -> None:
    assert identity_of(identity.labels()) == identity


def test_a_container_without_our_labels_is_nobody() -> None:
    assert identity_of({"io.kubernetes.pod.uid": "u"}) is None
    assert identity_of({"maintainer": "someone"}) is None


def test_another_image_is_another_spec_and_a_hash_of_another_version_says_nothing() -> None:
    container = {"name": "app", "image": "a:1", "env": []}
    assert not spec_changed(spec_hash_of(container), {**container, "env": [{"name": "A"}]})
    assert spec_changed(spec_hash_of(container), {**container, "image": "a:2"})
    assert not spec_changed("v0:0000", container)
    assert not spec_changed("", container)


def test_a_sandbox_counts_only_while_it_runs() -> None:
    sandbox = Sandbox("s", "POD", "u", 1)
    for state, alive in ((State.RUNNING, True), (State.EXITED, False)):
        listing = [Container("s", "POD", "i", "i", {}, state)]
        assert (observe(listing, {"u": sandbox})["u"].sandbox == sandbox) is alive
    assert observe([], {"u": sandbox})["u"].sandbox is None
