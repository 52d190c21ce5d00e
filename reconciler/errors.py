"""Failures of a stage: whose fault, and whether trying again can help.  They stop one application, never the daemon."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from reconciler.model import Problem


class Stage(StrEnum):
    SOURCE = "source"
    RENDER = "render"
    PLAN = "plan"
    APPLY = "apply"
    HEALTH = "health"
    HISTORY = "history"


class Fault(StrEnum):
    """Who can repair it."""

    REPOSITORY = "repository"  # whoever commits
    OPERATOR = "operator"  # whoever configures this daemon and its objects
    CLUSTER = "cluster"  # the API server or what is behind it
    NETWORK = "network"  # the Git host or the way to it


class StageError(Exception):
    """A stage could not finish.  `application` and `revision` are filled in by the pipeline, which knows them."""

    def __init__(
        self,
        message: str,
        *,
        stage: Stage,
        fault: Fault,
        retryable: bool,
        problems: Sequence[Problem] = (),
        application: str = "",
        revision: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.stage = stage
        self.fault = fault
        self.retryable = retryable
        self.problems = tuple(problems)
        self.application = application
        self.revision = revision


def source_error(message: str, *, fault: Fault = Fault.OPERATOR, retryable: bool = False) -> StageError:
    return StageError(message, stage=Stage.SOURCE, fault=fault, retryable=retryable)
