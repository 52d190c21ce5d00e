"""A condition's transition time moves with its status and with nothing else."""

from __future__ import annotations

from cluster.machinery.conditions import (
    get_condition,
    is_condition_true,
    make_condition,
    set_condition,
    set_conditions,
    without_condition,
)

READY = make_condition("Ready", True, "Up", "all is well")


def test_a_new_condition_is_stamped_now():
    assert set_condition((), READY, "t1") == [{**READY, "lastTransitionTime": "t1"}]


def test_a_new_reason_keeps_the_time_and_a_new_status_moves_it():
    before = set_condition((), READY, "t1")
    (renamed,) = set_condition(before, make_condition("Ready", True, "Better"), "t2")
    assert (renamed["lastTransitionTime"], renamed["reason"]) == ("t1", "Better")
    (failed,) = set_condition(before, make_condition("Ready", None), "t2")
    assert (failed["lastTransitionTime"], failed["status"]) == ("t2", "Unknown")


def test_setting_the_same_changes_nothing():
    before = set_condition((), READY, "t1")
    assert set_conditions(before, (READY, READY), "t2") is before


def test_order_and_other_conditions_stay():
    before = set_conditions((), (READY, make_condition("Other", False)), "t1")
    after = set_condition(before, make_condition("Ready", False), "t2")
    assert [c["type"] for c in after] == ["Ready", "Other"]
    assert after[1] is before[1]
    assert without_condition(after, "Ready") == [before[1]]
    assert get_condition(after, "None") is None
    assert not is_condition_true({"status": {"conditions": after}}, "Ready")
