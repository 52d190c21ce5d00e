"""Jobs and CronJobs: defaults, the generated selector, rules, what may change, rows."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.machinery.objects import Obj, field_of, with_field
from cluster.resources.batch_policies import count_indexes
from tests.unit.resources.kinds import CONTEXT, begin, cells, complaints, kind_of

JOB = kind_of("batch", "Job")
CRON_JOB = kind_of("batch", "CronJob")
POD: Obj = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}
INDEXED = {"completionMode": "Indexed", "completions": 3}
FAIL = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}


def job(**spec: Any) -> Obj:
    return {"metadata": {"name": "j", "namespace": "n", "uid": "u-1"}, "spec": {"template": POD, **spec}}


def cron_job(**spec: Any) -> Obj:
    chosen = {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": POD}}, **spec}
    return {"metadata": {"name": "c", "namespace": "n"}, "spec": chosen}


def created(**spec: Any) -> Obj:
    return JOB.strategy.prepare_create(job(**spec), CONTEXT)


def test_a_job_runs_one_pod_and_knows_its_pods_by_its_uid() -> None:
    made = created()
    labels = {
        "batch.kubernetes.io/controller-uid": "u-1",
        "controller-uid": "u-1",
        "batch.kubernetes.io/job-name": "j",
        "job-name": "j",
    }
    assert {name: value for name, value in made["spec"].items() if name != "template"} == {
        "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False,
        "manualSelector": False, "podReplacementPolicy": "TerminatingOrFailed",
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}},
    }  # fmt: skip
    assert made["spec"]["template"]["metadata"]["labels"] == labels
    assert made["metadata"]["labels"] == labels
    assert made["metadata"]["generation"] == 1
    assert JOB.strategy.validate(made) == ()
    assert JOB.strategy.default(made) == made


@pytest.mark.parametrize(
    ("spec", "defaulted"),
    [
        ({"parallelism": 3}, {"parallelism": 3, "completions": None}),
        ({"completions": 3}, {"parallelism": 1, "completions": 3}),
        ({**INDEXED, "backoffLimitPerIndex": 1}, {"backoffLimit": 2147483647}),
        ({"podFailurePolicy": {"rules": [FAIL]}}, {"podReplacementPolicy": "Failed"}),
    ],
)
def test_defaults_that_depend(spec: dict[str, Any], defaulted: dict[str, Any]) -> None:
    made = JOB.strategy.default(job(**spec))["spec"]
    assert {name: made.get(name) for name in defaulted} == defaulted


def test_a_condition_without_a_status_means_true() -> None:
    policy = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
    made = JOB.strategy.default(job(podFailurePolicy=policy))["spec"]["podFailurePolicy"]
    assert made["rules"][0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_a_selector_of_ones_own_is_left_alone() -> None:
    template = with_field(POD, ("metadata", "labels"), {"a": "b"})
    own = {"manualSelector": True, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    made = created(**own)
    assert made["spec"]["selector"] == {"matchLabels": {"a": "b"}}
    assert made["spec"]["template"]["metadata"]["labels"] == {"a": "b"}
    assert complaints(JOB, job(**own)) == []


def test_somebody_elses_uid_is_refused() -> None:
    template = with_field(POD, ("metadata", "labels"), {"controller-uid": "other"})
    assert begin(
        complaints(JOB, job(template=template)), "spec.template.metadata.labels[controller-uid]: Invalid value"
    )
    found = complaints(JOB, job(selector={"matchLabels": {"job-name": "other"}}))
    assert [text.partition(":")[0] for text in found] == ["spec.template.metadata.labels", "spec.selector"]
    assert found[-1].endswith("`selector` not auto-generated")


ALWAYS = with_field(POD, ("spec", "restartPolicy"), "Always")
ON_FAILURE = with_field(POD, ("spec", "restartPolicy"), "OnFailure")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"template": ALWAYS}, 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'),
        ({"parallelism": -1}, "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
        ({"completions": -1}, "spec.completions: Invalid value: -1"),
        ({"backoffLimit": -1}, "spec.backoffLimit: Invalid value: -1"),
        ({"ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished: Invalid value: -1"),
        ({"activeDeadlineSeconds": -1}, "spec.activeDeadlineSeconds: Invalid value: -1"),
        ({"completionMode": "Any"}, 'spec.completionMode: Unsupported value: "Any": supported values: "NonIndexed", "Ind'),
        ({"completionMode": "Indexed", "parallelism": 2},
         "spec.completions: Required value: when completion mode is Indexed"),
        ({**INDEXED, "parallelism": 100_001}, "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000"),
        ({"backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
        ({**INDEXED, "maxFailedIndexes": 1},
         "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"),
        ({**INDEXED, "backoffLimitPerIndex": 1, "maxFailedIndexes": 4},
         "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions"),
        ({**INDEXED, "completions": 100_001, "backoffLimitPerIndex": 1, "maxFailedIndexes": 10_001},
         "spec.maxFailedIndexes: Invalid value: 10001: must be less than or equal to 10000 when completions are above 1000"),
        ({"podReplacementPolicy": "Never"},
         'spec.podReplacementPolicy: Unsupported value: "Never": supported values: "Failed", "TerminatingOrFailed"'),
        ({"podFailurePolicy": {"rules": [FAIL]}, "podReplacementPolicy": "TerminatingOrFailed"},
         'spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"'),
        ({"podFailurePolicy": {"rules": [FAIL]}, "template": ON_FAILURE},
         'spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy'),
        ({"managedBy": "me"}, 'spec.managedBy: Invalid value: "me": must be a domain-prefixed path'),
        ({"successPolicy": {"rules": [{"succeededCount": 1}]}}, "spec.successPolicy: Invalid value"),
        ({**INDEXED, "successPolicy": {"rules": []}}, "spec.successPolicy.rules: Required value: at least one rules must be"),
        ({**INDEXED, "successPolicy": {"rules": [{}]}},
         "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"),
        ({**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0,3"}]}},
         'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0,3": error parsing succeededIndexes: too large'),
        ({**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 3}]}},
         "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of in"),
    ],
)  # fmt: skip
def test_a_job_that_cannot_work_is_refused(spec: dict[str, Any], text: str) -> None:
    assert begin(complaints(JOB, job(**spec)), text)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"action": "FailJob"}, ": Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
        ({**FAIL, "onPodConditions": [{"type": "A"}]}, ": Invalid value: specifying both OnExitCodes and OnPodConditions is"),
        ({**FAIL, "action": "FailIndex"}, '.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set'),
        ({**FAIL, "action": "Explode"}, '.action: Unsupported value: "Explode": supported values: "Count", "FailIndex"'),
        ({**FAIL, "action": ""}, '.action: Required value: valid values: "Count", "FailIndex", "FailJob", "Ignore"'),
        ({"action": "Count", "onExitCodes": {"operator": "In", "values": [0]}},
         ".onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"),
        ({"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [2, 1]}},
         ".onExitCodes.values: Invalid value: [2,1]: must be ordered"),
        ({"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1, 1]}},
         ".onExitCodes.values[1]: Duplicate value: 1"),
        ({"action": "Count", "onExitCodes": {"operator": "NotIn", "values": []}},
         ".onExitCodes.values: Invalid value: []: at least one value is required"),
        ({"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1], "containerName": "x"}},
         '.onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names'),
        ({"action": "Count", "onPodConditions": [{"type": "A", "status": "Maybe"}]},
         '.onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"'),
    ],
)  # fmt: skip
def test_a_rule_about_failures_that_cannot_work_is_refused(rule: Obj, text: str) -> None:
    found = complaints(JOB, job(podFailurePolicy={"rules": [rule]}))
    assert begin(found, f"spec.podFailurePolicy.rules[0]{text}")


def test_the_last_pod_of_an_indexed_job_can_be_named() -> None:
    long = with_field(job(**INDEXED), ("metadata", "name"), "a" * 62)
    assert any("will not able to create pod with invalid DNS label" in text for text in complaints(JOB, long))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"completions": 5}, "spec.completions: Invalid value: 5: field is immutable"),
        ({"completionMode": "Indexed"}, 'spec.completionMode: Invalid value: "Indexed": field is immutable'),
        ({"backoffLimit": 2}, ""),
        ({"parallelism": 2}, ""),
        ({"suspend": True}, ""),
        ({"ttlSecondsAfterFinished": 5}, ""),
    ],
)
def test_what_may_change_of_a_running_job(change: Obj, text: str) -> None:
    old = created()
    found = complaints(JOB, {**old, "spec": {**old["spec"], **change}}, old)
    assert begin(found, text) if text else found == []


def test_the_pods_of_a_job_are_what_they_were() -> None:
    old = created()
    other = with_field(old, ("spec", "template", "spec", "containers"), [{"name": "c", "image": "i:2"}])
    assert begin(complaints(JOB, other, old), "spec.template: Invalid value")


def test_a_job_that_never_ran_may_still_be_placed() -> None:
    old = created(suspend=True)
    placed = with_field(old, ("spec", "template", "spec", "nodeSelector"), {"zone": "a"})
    assert complaints(JOB, placed, old) == []
    ran = with_field(old, ("status", "startTime"), "2025-01-01T00:00:00Z")
    assert begin(complaints(JOB, placed, ran), "spec.template: Invalid value")


def test_the_size_of_an_indexed_job_changes_as_a_whole() -> None:
    old = created(**{**INDEXED, "parallelism": 3})
    grown = {**old, "spec": {**old["spec"], "completions": 5, "parallelism": 5}}
    assert complaints(JOB, grown, old) == []
    assert begin(
        complaints(JOB, with_field(old, ("spec", "completions"), 5), old),
        "spec.completions: Invalid value: 5: can only be modified in tandem with spec.parallelism",
    )


def test_a_cron_job_allows_overlaps_and_keeps_a_little_history() -> None:
    made = CRON_JOB.strategy.prepare_create(cron_job(), CONTEXT)
    assert {name: value for name, value in made["spec"].items() if name not in ("schedule", "jobTemplate")} == {
        "concurrencyPolicy": "Allow", "suspend": False, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
    }  # fmt: skip
    assert field_of(made, "spec", "jobTemplate", "spec", "template", "spec", "dnsPolicy") == "ClusterFirst"
    assert "backoffLimit" not in made["spec"]["jobTemplate"]["spec"]
    assert CRON_JOB.strategy.validate(made) == ()


SELECTING = {"spec": {"template": POD, "selector": {"matchLabels": {"a": "b"}}}}


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"schedule": ""}, "spec.schedule: Required value"),
        ({"schedule": "error"}, 'spec.schedule: Invalid value: "error": expected exactly 5 fields, found 1: [error]'),
        ({"schedule": "TZ=UTC 0 0 * * *"},
         'spec.schedule: Invalid value: "TZ=UTC 0 0 * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead'),
        ({"timeZone": ""}, 'spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string'),
        ({"timeZone": "local"}, 'spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in'),
        ({"timeZone": "Mars/Olympus"}, 'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'),
        ({"timeZone": "../../etc/passwd"}, "spec.timeZone: Invalid value"),
        ({"timeZone": "/etc/localtime"}, "spec.timeZone: Invalid value"),
        ({"timeZone": "Europe"}, "spec.timeZone: Invalid value"),
        ({"concurrencyPolicy": "Never"},
         'spec.concurrencyPolicy: Unsupported value: "Never": supported values: "Allow", "Forbid", "Replace"'),
        ({"startingDeadlineSeconds": -1}, "spec.startingDeadlineSeconds: Invalid value: -1"),
        ({"successfulJobsHistoryLimit": -1}, "spec.successfulJobsHistoryLimit: Invalid value: -1"),
        ({"failedJobsHistoryLimit": -1}, "spec.failedJobsHistoryLimit: Invalid value: -1"),
        ({"jobTemplate": SELECTING}, "spec.jobTemplate.spec.selector: Invalid value"),
        ({"jobTemplate": {"spec": {"template": POD, "manualSelector": True}}},
         'spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"'),
        ({"jobTemplate": {"spec": {"template": ALWAYS}}}, "spec.jobTemplate.spec.template.spec.restartPolicy: Required value"),
    ],
)  # fmt: skip
def test_a_cron_job_that_cannot_work_is_refused(spec: dict[str, Any], text: str) -> None:
    assert begin(complaints(CRON_JOB, cron_job(**spec)), text)


def test_zones_are_names_of_the_database() -> None:
    for zone in ("Europe/Zurich", "UTC", "Etc/GMT+12", "America/Argentina/Buenos_Aires"):
        assert complaints(CRON_JOB, cron_job(timeZone=zone)) == []


def test_an_old_cron_job_may_keep_its_zone_in_the_schedule() -> None:
    old = cron_job(schedule="CRON_TZ=Europe/Zurich 0 0 * * *")
    assert complaints(CRON_JOB, with_field(old, ("spec", "suspend"), True), old) == []
    both = with_field(old, ("spec", "timeZone"), "UTC")
    assert complaints(CRON_JOB, both, old)[0].endswith("cannot use both timeZone field and TZ or CRON_TZ in schedule")
    assert "not officially supported" in CRON_JOB.strategy.warnings(old)[0]


def test_jobs_of_a_cron_job_can_be_named() -> None:
    long = with_field(cron_job(), ("metadata", "name"), "a" * 53)
    assert begin(complaints(CRON_JOB, long), "metadata.name: Invalid value")


@pytest.mark.parametrize(("text", "count"), [("", 0), ("0", 1), ("0,2-4", 4), ("1-9", 9)])
def test_indexes_are_counted(text: str, count: int) -> None:
    assert count_indexes(text, 10) == count


@pytest.mark.parametrize("text", ["a", "3,2", "2-1", "2-2", "10", "1,,2", "-1", "1-2-3"])
def test_what_is_no_list_of_indexes(text: str) -> None:
    with pytest.raises(ValueError, match=r"index|order"):
        count_indexes(text, 10)


def _done(*conditions: str) -> Obj:
    return {"conditions": [{"type": name, "status": "True"} for name in conditions]}


@pytest.mark.parametrize(
    ("status", "shown"),
    [({}, "Running"), (_done("Complete"), "Complete"), (_done("FailureTarget", "Failed"), "Failed"),
     (_done("Suspended"), "Suspended"), (_done("FailureTarget"), "FailureTarget"),
     (_done("SuccessCriteriaMet"), "SuccessCriteriaMet")],
)  # fmt: skip
def test_the_status_of_a_job_in_a_word(status: Obj, shown: str) -> None:
    assert cells(JOB, {**job(), "status": status})[1] == shown


def test_the_rows() -> None:
    made = with_field(created(completions=5), ("metadata", "creationTimestamp"), "2025-01-01T09:30:00Z")
    times = {"startTime": "2025-01-01T09:30:00Z", "completionTime": "2025-01-01T09:31:30Z"}
    selector = "batch.kubernetes.io/controller-uid=u-1"
    assert cells(JOB, {**made, "status": {"succeeded": 2, **times}}) == [
        "j", "Running", "2/5", "90s", "150m", "c", "i:1", selector,
    ]  # fmt: skip
    assert [cells(JOB, created(parallelism=n))[2] for n in (1, 3)] == ["0/1", "0/1 of 3"]
    periodic = CRON_JOB.strategy.default(cron_job(timeZone="UTC"))
    periodic = with_field(periodic, ("metadata", "creationTimestamp"), "2025-01-01T09:30:00Z")
    status = {"active": [{}, {}], "lastScheduleTime": "2025-01-01T11:00:00Z"}
    assert cells(CRON_JOB, {**periodic, "status": status}) == [
        "c", "0 0 * * *", "UTC", "False", 2, "60m", "150m", "c", "i:1", "<none>",
    ]  # fmt: skip
