"""The Pod Security Standards: what each finds, in upstream's words."""

from __future__ import annotations

import pytest

from cluster.resources.pod_standards import LEVELS, Standard, standard_of, violations_of

BASELINE, RESTRICTED = Standard("baseline"), Standard("restricted")
SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _pod(*contexts, **spec):
    containers = [{"name": f"c{index}", "securityContext": context} for index, context in enumerate(contexts or ({},))]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}}


def test_an_ordinary_pod_is_no_restricted_one():
    assert violations_of(_pod(), BASELINE) == []
    assert violations_of(_pod(), RESTRICTED) == [
        'allowPrivilegeEscalation != false (container "c0" must set securityContext.allowPrivilegeEscalation=false)',
        'unrestricted capabilities (container "c0" must set securityContext.capabilities.drop=["ALL"])',
        'runAsNonRoot != true (pod or container "c0" must set securityContext.runAsNonRoot=true)',
        'seccompProfile (pod or container "c0" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")',
    ]
    assert violations_of(_pod(SAFE, SAFE), RESTRICTED) == []


def test_the_pod_may_speak_for_its_containers():
    contexts = [{name: SAFE[name] for name in ("allowPrivilegeEscalation", "capabilities")}] * 2
    pod = _pod(*contexts, securityContext={name: SAFE[name] for name in ("runAsNonRoot", "seccompProfile")})
    assert violations_of(pod, RESTRICTED) == []


@pytest.mark.parametrize(
    ("pod", "found"),
    [
        (_pod(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (_pod({"privileged": True}, {"privileged": True}),
         'privileged (containers "c0", "c1" must not set securityContext.privileged=true)'),
        (_pod({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}),
         'non-default capabilities (container "c0" must not include "NET_ADMIN" in securityContext.capabilities.add)'),
        (_pod(volumes=[{"name": "a", "hostPath": {}}, {"name": "b", "hostPath": {}}]), 'hostPath volumes (volumes "a", "b")'),
        (_pod(securityContext={"sysctls": [{"name": "kernel.panic"}, {"name": "kernel.shm_rmid_forced"}]}),
         "forbidden sysctls (kernel.panic)"),
        (_pod({"procMount": "Unmasked"}), 'procMount (container "c0" must not set securityContext.procMount to "Unmasked")'),
        (_pod({"seccompProfile": {"type": "Unconfined"}}, securityContext={"seccompProfile": {"type": "Unconfined"}}),
         'seccompProfile (pod and container "c0" must not set securityContext.seccompProfile.type to "Unconfined")'),
        (_pod(securityContext={"seLinuxOptions": {"type": "spc_t", "user": "u"}}),
         'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)'),
        (_pod(securityContext={"appArmorProfile": {"type": "Unconfined"}}),
         'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")'),
        (_pod(securityContext={"windowsOptions": {"hostProcess": True}}),
         "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"),
        ({"spec": {"initContainers": [{"name": "i", "ports": [{"hostPort": 80}, {"hostPort": 81}]}]}},
         'hostPort (container "i" uses hostPorts 80, 81)'),
    ],
)  # fmt: skip
def test_what_the_baseline_does_not_allow(pod, found):
    assert violations_of(pod, BASELINE) == [found]
    assert violations_of(pod, Standard("privileged")) == ()


@pytest.mark.parametrize(
    ("pod", "found"),
    [
        (_pod({**SAFE, "runAsUser": 0}), 'runAsUser=0 (container "c0" must not set runAsUser=0)'),
        (_pod({**SAFE, "runAsNonRoot": False}),
         'runAsNonRoot != true (container "c0" must not set securityContext.runAsNonRoot=false)'),
        (_pod({**SAFE, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}),
         'unrestricted capabilities (container "c0" must not include "CHOWN" in securityContext.capabilities.add)'),
        (_pod(SAFE, volumes=[{"name": "v", "nfs": {}}, {"name": "ok", "emptyDir": {}}]),
         'restricted volume types (volume "v" uses restricted volume type "nfs")'),
        (_pod({**SAFE, "seccompProfile": {"type": "Unconfined"}}),
         'seccompProfile (container "c0" must not set securityContext.seccompProfile.type to "Unconfined")'),
    ],
)  # fmt: skip
def test_what_is_not_restricted(pod, found):
    assert violations_of(pod, RESTRICTED) == [found]


def test_a_standard_is_that_of_its_version():
    bare = _pod({"runAsNonRoot": True, "runAsUser": 0})
    assert violations_of(bare, Standard("restricted", "v1.7")) == []
    assert len(violations_of(bare, Standard("restricted", "v1.22"))) == 3
    assert violations_of(bare, Standard("restricted", "v1.99")) == violations_of(bare, RESTRICTED)
    late = _pod(securityContext={"sysctls": [{"name": "net.ipv4.tcp_fin_timeout"}]})
    assert violations_of(late, Standard("baseline", "v1.28")) == ["forbidden sysctls (net.ipv4.tcp_fin_timeout)"]
    assert violations_of(late, BASELINE) == []


def test_labels_name_the_standard():
    labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30"}
    assert str(standard_of(labels, "enforce")) == "baseline:v1.30"
    assert standard_of(labels, "warn").level == "privileged"
    assert standard_of({"pod-security.kubernetes.io/warn": "strict"}, "warn") == RESTRICTED


def test_each_level_allows_no_more_than_the_one_before():
    pods = [
        _pod(),
        _pod(SAFE),
        _pod({"privileged": True}),
        _pod(hostIPC=True),
        _pod(volumes=[{"name": "v", "hostPath": {}}]),
    ]
    for pod in pods:
        refused = [bool(violations_of(pod, Standard(level))) for level in LEVELS]
        assert refused == sorted(refused)
