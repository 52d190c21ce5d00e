"""The values every stage hands to the next: frozen, comparable, without behaviour beyond naming themselves.

Knows no Git, no API client and no clock; instants are RFC 3339 text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from cluster.machinery.objects import GroupKind, GroupVersionKind, Key, Obj, gvk_of, key_of


class Ref(NamedTuple):
    """What names an object whatever its version: the identity that inventory, plan and runs use."""

    group: str
    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.group, self.kind)

    def __str__(self) -> str:
        return f"{self.group_kind} {self.key}"


def ref_of(obj: Obj) -> Ref:
    gvk, key = gvk_of(obj), key_of(obj)
    return Ref(gvk.group, gvk.kind, key.namespace, key.name)


class Origin(NamedTuple):
    """Where in the source something is written; `line` counts from 1, 0 means the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of a source.  `id` is a commit, or `sha256:...` of a folder's content; `tree` names the content alone.

    A folder has no author: there `author` is empty and `subject` says what it is.  `trailers` are the `Name: value` lines
    that end a commit's message.
    """

    id: str
    tree: str
    author: str = ""
    subject: str = ""
    committed_at: str = ""
    trailers: Sequence[tuple[str, str]] = ()

    @property
    def short(self) -> str:
        return self.id.removeprefix("sha256:")[:8]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as the source declares it.  `digest` is equal exactly when the declared content is."""

    obj: Obj
    origin: Origin
    digest: str
    ref: Ref = field(init=False, compare=False)
    key: Key = field(init=False, compare=False)
    gvk: GroupVersionKind = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Worked out once: every look at an application asks for them several times.
        object.__setattr__(self, "ref", ref_of(self.obj))
        object.__setattr__(self, "key", self.ref.key)
        object.__setattr__(self, "gvk", gvk_of(self.obj))


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON: key order is irrelevant."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def manifest_of(obj: Obj, origin: Origin) -> Manifest:
    return Manifest(obj, origin, digest_of(obj))


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with one file or one object; it stops that object and no other."""

    message: str
    origin: Origin | None = None
    ref: Ref | None = None

    def __str__(self) -> str:
        parts = [str(part) for part in (self.origin, self.ref) if part]
        return ": ".join((*parts, self.message))


@dataclass(frozen=True, slots=True)
class Manifests:
    """All that a path of a revision declares, with all that is wrong with it.  `tree` names the path's content."""

    items: Sequence[Manifest]
    problems: Sequence[Problem]
    tree: str


@dataclass(frozen=True, slots=True)
class Owned:
    """An inventory entry: this application applied the object.

    `uid` is empty between being recorded and being created.  `digest` is the manifest's; `projection` is the digest of the
    declared fields as the server then held them, so that a later difference is drift and nothing else is.
    """

    ref: Ref
    version: str
    uid: str = ""
    digest: str = ""
    projection: str = ""


class Verb(StrEnum):
    CREATE = "Create"
    UPDATE = "Update"
    KEEP = "Keep"
    PRUNE = "Prune"
    HOLD = "Hold"  # would be pruned, but the guard says no
    REFUSE = "Refuse"  # may not be applied at all


@dataclass(frozen=True, slots=True)
class Action:
    """The one thing that happens to one object.  Waves are carried out in ascending order, prunes after all of them."""

    verb: Verb
    ref: Ref
    wave: int
    reason: str
    manifest: Manifest | None = None
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """`held` says why prunes were turned into HOLD; empty when none was."""

    actions: Sequence[Action]
    held: str = ""

    def of(self, *verbs: Verb) -> Sequence[Action]:
        return [action for action in self.actions if action.verb in verbs]


class Health(StrEnum):
    """From best to worst; the worst of the parts is the health of the whole."""

    HEALTHY = "Healthy"
    SUSPENDED = "Suspended"
    PROGRESSING = "Progressing"
    MISSING = "Missing"
    DEGRADED = "Degraded"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class HealthStatus:
    health: Health
    message: str = ""


class Sync(StrEnum):
    """Does the cluster hold what the source declares?"""

    SYNCED = "Synced"
    OUT_OF_SYNC = "OutOfSync"
    UNKNOWN = "Unknown"


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "Succeeded"  # applied and healthy
    APPLIED = "Applied"  # applied; health did not arrive within the timeout
    PARTIAL = "Partial"  # some objects failed or were refused, the others are applied
    FAILED = "Failed"  # nothing was applied
    SUPERSEDED = "Superseded"  # a newer commit took over


class Trigger(StrEnum):
    """Why a run happened."""

    REVISION = "Revision"
    SPEC = "Spec"
    DRIFT = "Drift"
    REQUEST = "Request"
    RETRY = "Retry"
    REVERT = "Revert"  # a commit did not become healthy, so an earlier one is applied


@dataclass(frozen=True, slots=True)
class Counts:
    """How many objects ended in each action; `failed` are those the server refused."""

    created: int = 0
    updated: int = 0
    kept: int = 0
    pruned: int = 0
    held: int = 0
    refused: int = 0
    failed: int = 0

    @property
    def changed(self) -> int:
        return self.created + self.updated + self.pruned


@dataclass(frozen=True, slots=True)
class Done:
    """An action that was carried out, or was tried: `error` is empty when it succeeded.

    `version` is the object's resourceVersion after a write: a cache that has not come so far is behind us.
    """

    action: Action
    error: str = ""
    owned: Owned | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Stages:
    """When a revision got how far on its way into the API: RFC 3339 with microseconds; empty where nobody knows."""

    committed: str = ""
    seen: str = ""
    planned: str = ""
    applied: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """The record of one synchronisation: append-only."""

    application: Key
    revision: Revision
    trigger: Trigger
    started_at: str
    finished_at: str
    duration_ms: int
    outcome: Outcome
    message: str
    health: Health
    counts: Counts
    done: Sequence[Done] = field(default_factory=tuple)
    problems: Sequence[Problem] = field(default_factory=tuple)
    tree: str = ""
    stages: Stages = field(default_factory=Stages)
