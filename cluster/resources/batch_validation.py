"""What must hold of a job's spec, in a job or in a CronJob's template.

Upstream: pkg/apis/batch/validation/validation.go validateJobSpec.
"""

from __future__ import annotations

from collections.abc import Iterator

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, not_supported, required, too_long
from cluster.machinery.names import qualified_name_errors
from cluster.machinery.objects import Obj, field_of
from cluster.resources.batch_policies import validate_pod_failure_policy, validate_success_policy
from cluster.resources.workload import validate_not_negative, validate_template

COMPLETION_MODES = ("NonIndexed", "Indexed")
REPLACEMENT_POLICIES = ("Failed", "TerminatingOrFailed")
RESTART_POLICIES = ("OnFailure", "Never")
PARALLELISM_MAX = 100_000
"""Of an indexed job, and the most indexes of it that may fail."""
MANY_COMPLETIONS = 100_000
"""Above this an indexed job with a limit per index is held to `FEW_MAX`."""
FEW_MAX = 10_000
MANAGED_BY_MAX = 63


def validate_job_spec(spec: Obj, path: str) -> Iterator[Cause]:
    """Causes below `path`; `spec` is defaulted.  The selector is the caller's."""
    for field in (
        "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
        "backoffLimitPerIndex", "maxFailedIndexes",
    ):  # fmt: skip
        yield from validate_not_negative(spec.get(field), f"{path}.{field}")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if (manager := spec.get("managedBy")) is not None:
        yield from _validate_managed_by(manager, f"{path}.managedBy")
    mode = spec.get("completionMode")
    if mode is not None and mode not in COMPLETION_MODES:
        yield not_supported(f"{path}.completionMode", mode, COMPLETION_MODES)
    if mode == "Indexed":
        yield from _validate_indexed(spec, path)
    elif mode in (None, "NonIndexed"):
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if (value := spec.get(field)) is not None:
                yield invalid(f"{path}.{field}", value, "requires indexed completion mode")
    failure = spec.get("podFailurePolicy")
    if failure is not None:
        yield from validate_pod_failure_policy(failure, spec, f"{path}.podFailurePolicy")
    if (success := spec.get("successPolicy")) is not None:
        if mode == "Indexed":
            yield from validate_success_policy(success, spec, f"{path}.successPolicy")
        else:
            yield invalid(f"{path}.successPolicy", success, "requires indexed completion mode")
    if (replacement := spec.get("podReplacementPolicy")) is not None:
        allowed = ("Failed",) if failure is not None else REPLACEMENT_POLICIES
        if replacement not in allowed:
            yield not_supported(f"{path}.podReplacementPolicy", replacement, allowed)
    yield from validate_template(
        spec.get("template") or {}, f"{path}.template", restart_policies=("Always", *RESTART_POLICIES)
    )
    yield from _validate_restart_policy(spec, f"{path}.template.spec.restartPolicy")


def _validate_restart_policy(spec: Obj, path: str) -> Iterator[Cause]:
    policy = field_of(spec, "template", "spec", "restartPolicy", default="")
    if policy == "Always":
        # Nobody asked for it: it is the default of pods, which makes no sense here.
        yield required(path, 'valid values: "OnFailure", "Never"')
    elif policy == "OnFailure" and spec.get("podFailurePolicy") is not None:
        yield invalid(path, policy, 'only "Never" is supported when podFailurePolicy is specified')


def _validate_managed_by(manager: str, path: str) -> Iterator[Cause]:
    domain, slash, rest = manager.partition("/")
    if not manager:
        yield required(path)
    elif not slash or not domain or not rest:
        yield invalid(path, manager, 'must be a domain-prefixed path (such as "acme.io/foo")')
    else:
        for why in qualified_name_errors(manager):
            yield invalid(path, manager, why)
    if len(manager) > MANAGED_BY_MAX:
        yield too_long(path, MANAGED_BY_MAX)


def _validate_indexed(spec: Obj, path: str) -> Iterator[Cause]:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed_max = spec.get("maxFailedIndexes")
    if completions is None:
        yield required(f"{path}.completions", "when completion mode is Indexed")
    if parallelism is not None and parallelism > PARALLELISM_MAX:
        why = f"must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed"
        yield invalid(f"{path}.parallelism", parallelism, why)
    if failed_max is not None and completions is not None and failed_max > completions:
        yield invalid(f"{path}.maxFailedIndexes", failed_max, "must be less than or equal to completions")
    if failed_max is not None and failed_max > PARALLELISM_MAX:
        yield invalid(f"{path}.maxFailedIndexes", failed_max, f"must be less than or equal to {PARALLELISM_MAX}")
    if (completions or 0) <= MANY_COMPLETIONS or spec.get("backoffLimitPerIndex") is None:
        return
    if failed_max is None:
        yield required(f"{path}.maxFailedIndexes", f"must be specified when completions is above {MANY_COMPLETIONS}")
    few = f"must be less than or equal to {FEW_MAX} when completions are above {MANY_COMPLETIONS}"
    few += " and used with backoff limit per index"
    for field, value in (("parallelism", parallelism), ("maxFailedIndexes", failed_max)):
        if value is not None and value > FEW_MAX:
            yield invalid(f"{path}.{field}", value, few)
