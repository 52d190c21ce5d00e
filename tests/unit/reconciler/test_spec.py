"""An application's spec: durations, rights, approvals."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.daemon.spec import application_spec, seconds_of
from reconciler.errors import StageError
from reconciler.model import Ref


def spec(namespace: str = "team", annotations: dict[str, str] | None = None, **fields: Any) -> Any:
    meta = {"name": "web", "namespace": namespace, "annotations": annotations or {}}
    return application_spec({"metadata": meta, "spec": {"repositoryRef": {"name": "r"}, **fields}})


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1h30m", 5400), ("500ms", 0.5), ("1.5m", 90)])
def test_durations_are_written_as_go_does(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "-1s", "1d", "s", "1s2", " 1s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(StageError):
        seconds_of(text)


def test_a_path_that_leaves_the_repository_is_refused() -> None:
    with pytest.raises(StageError):
        spec(path="../other")


def test_outside_of_the_operators_namespace_only_ones_own_may_be_the_target() -> None:
    with pytest.raises(StageError, match="serviceAccountName"):
        spec(targetNamespace="kube-system").authority(operator=False, system_namespace="reconciler-system")
    own = spec().authority(operator=False, system_namespace="reconciler-system")
    assert not own.refusal(Ref("", "ConfigMap", "team", "a"))
    assert own.refusal(Ref("", "ConfigMap", "kube-system", "a"))
    assert own.refusal(Ref("rbac.authorization.k8s.io", "ClusterRole", "", "a"))


def test_with_a_service_account_the_server_decides() -> None:
    trusted = spec(targetNamespace="kube-system", serviceAccountName="deployer")
    assert not trusted.authority(operator=False, system_namespace="x").refusal(Ref("", "Namespace", "", "a"))


def test_an_approval_names_the_revision_and_is_not_too_short() -> None:
    def approved(text: str) -> bool:
        return bool(spec(annotations={"gitops.reconciler.io/approve-prune": text}).approves("0123456789"))

    assert approved("0123456")
    assert not approved("012345")
    assert not approved("1123456")
    assert not approved("")
