"""What is particular to a kind when it is written: defaults, what clients may change, what must hold.

Pure: objects in, objects or causes out; inputs are never changed.  Upstream: apiserver/pkg/registry/rest/{create,update}.go
and each kind's registry/*/strategy.go.  Knows nothing of storage, allocation, admission or who may do what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from cluster.machinery.errors import Cause
from cluster.machinery.names import subdomain_errors
from cluster.machinery.objects import Obj, meta_of, with_field
from cluster.resources.metadata import validate_metadata, validate_metadata_update


@dataclass(frozen=True, slots=True)
class ScaleFields:
    """Where a scalable kind keeps what autoscaling/v1 Scale shows; the selector path is empty when there is none.

    At `selector` there is a LabelSelector or, for custom resources, its text; with `plain_selector`, a map of labels.
    """

    spec_replicas: tuple[str, ...]
    status_replicas: tuple[str, ...]
    selector: tuple[str, ...] = ()
    plain_selector: bool = False


@dataclass(frozen=True, slots=True)
class WriteContext:
    """Who writes; kinds that record their author read it."""

    user: str
    groups: Sequence[str] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Strategy(Protocol):
    """One kind's rules.  The order on create is default, admission, prepare_create, validate; on update likewise."""

    @property
    def allow_create_on_update(self) -> bool:
        """A PUT to an absent name creates it."""
        ...

    @property
    def unconditional_update(self) -> bool:
        """A PUT without resourceVersion replaces whatever is there; else it is 422."""
        ...

    @property
    def graceful(self) -> bool:
        """Deletion waits for a grace period that somebody else ends (pods)."""
        ...

    @property
    def scale(self) -> ScaleFields | None: ...

    def default(self, obj: Obj) -> Obj:
        """`obj` with every defaulted field present.  Idempotent."""
        ...

    def prepare_create(self, obj: Obj, context: WriteContext) -> Obj:
        """What a new object is stored as: defaulted, without what only the server or the status endpoint may set."""
        ...

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        """`new` defaulted, with `old`'s status; the generation grows when anything but metadata and status differs."""
        ...

    def prepare_status(self, new: Obj, old: Obj) -> Obj:
        """`old` with `new`'s status (and, for most kinds, metadata)."""
        ...

    def validate(self, obj: Obj) -> tuple[Cause, ...]:
        """What is wrong with a new object, metadata included."""
        ...

    def validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        """What is wrong with `new` in itself and as a successor of `old`."""
        ...

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        """What is wrong with a write to the status endpoint."""
        ...

    def warnings(self, obj: Obj) -> tuple[str, ...]:
        """Advice for the writer, one Warning header each."""
        ...


_NOT_SPEC = frozenset({"apiVersion", "kind", "metadata", "status"})


class GenericStrategy:
    """The rules most kinds share.  A kind overrides the hooks `_default`, `_validate` and `_validate_update`."""

    allow_create_on_update: bool = False
    unconditional_update: bool = True
    graceful: bool = False
    scale: ScaleFields | None = None
    namespaced: bool = True
    has_status: bool = False
    has_generation: bool = False
    status_keeps_labels: ClassVar[bool] = False
    """The status endpoint leaves labels as they were (the workload kinds)."""

    def default(self, obj: Obj) -> Obj:
        return obj

    def prepare_create(self, obj: Obj, context: WriteContext) -> Obj:
        new = dict(self.default(obj))
        if self.has_status:
            new["status"] = self._first_status(new)
        meta = {key: value for key, value in meta_of(new).items() if key != "generation"}
        if self.has_generation:
            meta["generation"] = 1
        new["metadata"] = meta
        return new

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        prepared = dict(self.default(new))
        if self.has_status:
            _carry(prepared, old, "status")
        return with_generation(prepared, old) if self.has_generation else prepared

    def prepare_status(self, new: Obj, old: Obj) -> Obj:
        prepared = dict(old)
        meta = dict(meta_of(new))
        _carry(meta, meta_of(old), "generation")
        _carry(meta, meta_of(old), "ownerReferences")
        if self.status_keeps_labels:
            _carry(meta, meta_of(old), "labels")
        prepared["metadata"] = meta
        _carry(prepared, new, "status")
        return prepared

    def validate(self, obj: Obj) -> tuple[Cause, ...]:
        return (*self._validate_metadata(obj), *self._validate(obj))

    def validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (
            *self._validate_metadata(new),
            *validate_metadata_update(meta_of(new), meta_of(old)),
            *self._validate_update(new, old),
        )

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate_metadata(new), *validate_metadata_update(meta_of(new), meta_of(old)))

    def warnings(self, obj: Obj) -> tuple[str, ...]:
        return ()

    def _name_check(self, name: str) -> tuple[str, ...]:
        """What is wrong with the name."""
        return subdomain_errors(name)

    def _first_status(self, obj: Obj) -> Any:
        return {}

    def _validate_metadata(self, obj: Obj) -> tuple[Cause, ...]:
        return validate_metadata(meta_of(obj), namespaced=self.namespaced, name_check=self._name_check)

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        """What is wrong outside the metadata."""
        return ()

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        """What is wrong outside the metadata with `new`, alone and after `old`."""
        return self._validate(new)


class PlainStrategy(GenericStrategy):
    """A kind without rules of its own."""

    def __init__(self, *, namespaced: bool, has_status: bool = False, has_generation: bool = False) -> None:
        self.namespaced = namespaced
        self.has_status = has_status
        self.has_generation = has_generation


def spec_differs(new: Obj, old: Obj) -> bool:
    """Whether anything but type, metadata and status differs: what counts as a new generation."""
    return any(
        new.get(field) != old.get(field)
        for field in (*new, *(field for field in old if field not in new))
        if field not in _NOT_SPEC
    )


def with_generation(new: Obj, old: Obj) -> dict[str, Any]:
    """`new` with `old`'s generation, one higher when the spec differs."""
    generation = int(meta_of(old).get("generation", 0)) + (1 if spec_differs(new, old) else 0)
    return with_field(new, ("metadata", "generation"), generation)


def _carry(target: dict[str, Any], source: Obj, field: str) -> None:
    """Make `field` of `target` what it is in `source`, absence included."""
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)
