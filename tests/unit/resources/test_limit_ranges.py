"""LimitRanges: what they add, what they refuse and how they say so."""

from __future__ import annotations

import pytest

from cluster.resources.limit_ranges import ANNOTATION, limit_violations, with_default_amounts


def _range(kind="Container", **fields):
    return {"spec": {"limits": [{"type": kind, **fields}]}}


def _pod(*containers):
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": f"c{i}", "resources": r} for i, r in enumerate(containers)]},
    }


def test_containers_that_state_nothing_get_the_defaults():
    limits = _range(default={"cpu": "1", "memory": "1Gi"}, defaultRequest={"cpu": "500m"})
    made = with_default_amounts(_pod({}, {"requests": {"cpu": "2"}, "limits": {"cpu": "2", "memory": "2Gi"}}), limits)
    first, second = (container["resources"] for container in made["spec"]["containers"])
    assert first == {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    assert second == {"requests": {"cpu": "2"}, "limits": {"cpu": "2", "memory": "2Gi"}}
    assert made["metadata"]["annotations"] == {
        ANNOTATION: "LimitRanger plugin set: cpu request for container c0; cpu, memory limit for container c0"
    }


def test_a_pod_that_states_everything_is_left_alone():
    pod = _pod({"limits": {"cpu": "1"}})
    assert with_default_amounts(pod, _range(default={"cpu": "1"})) is pod
    assert with_default_amounts(pod, _range("Pod", max={"cpu": "1"})) is pod


@pytest.mark.parametrize(
    ("limits", "resources", "found"),
    [
        ({"min": {"cpu": "100m"}}, {}, ["minimum cpu usage per Container is 100m.  No request is specified"]),
        ({"min": {"cpu": "100m"}}, {"requests": {"cpu": "50m"}},
         ["minimum cpu usage per Container is 100m, but request is 50m"]),
        ({"max": {"memory": "1Gi"}}, {"limits": {"memory": "2Gi"}},
         ["maximum memory usage per Container is 1Gi, but limit is 2Gi"]),
        ({"max": {"memory": "1Gi"}}, {}, ["maximum memory usage per Container is 1Gi.  No limit is specified"]),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}},
         ["cpu max limit to request ratio per Container is 2, but provided ratio is 5.000000"]),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {"limits": {"cpu": "1"}},
         ["cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"]),
        ({"min": {"cpu": "100m"}, "max": {"cpu": "1"}}, {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}, []),
    ],
)  # fmt: skip
def test_a_container_outside_its_bounds_is_found(limits, resources, found):
    assert list(limit_violations("Pod", _pod(resources), _range(**limits))) == found


def test_a_pod_is_bound_by_the_sum():
    pod = _pod(*[{"requests": {"cpu": "600m"}, "limits": {"cpu": "600m"}}] * 2)
    assert list(limit_violations("Pod", pod, _range("Pod", max={"cpu": "1"}))) == [
        "maximum cpu usage per Pod is 1, but limit is 1200m"
    ]


def test_a_claim_is_bound_by_what_it_asks_for():
    claim = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}}
    kind = "PersistentVolumeClaim"
    assert list(limit_violations(kind, claim, _range(kind, min={"storage": "1Gi"}, max={"storage": "10Gi"}))) == []
    assert list(limit_violations(kind, claim, _range(kind, max={"storage": "2Gi"}))) == [
        "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 5Gi"
    ]
