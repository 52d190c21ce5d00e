"""Which application owns which object: one owner each, known from the inventories, decided without an await between."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, overload

from cluster.machinery.objects import Key, Obj, key_of
from reconciler.apply.inventory import chunk_number, entry_of
from reconciler.model import Action, Done, Ref, Verb

_T = TypeVar("_T")


class Claims:
    """Asked on the event loop only.  Methods that end claims return what is free now."""

    def __init__(self) -> None:
        self._owners: dict[Ref, Key] = {}

    def load(self, chunks: Iterable[Obj]) -> None:
        """Take over what all stored inventories say, before any application is looked at."""
        for chunk in chunks:
            application = str(chunk.get("application", ""))
            if chunk_number(chunk, application) is None:
                continue
            owner = Key(key_of(chunk).namespace, application)
            for row in chunk.get("entries") or ():
                self._owners.setdefault(entry_of(row).ref, owner)

    def of_others(self, application: Key) -> Mapping[Ref, str]:
        """A live view: the objects that `application` may not touch, with their owners' names."""
        return _OfOthers(self._owners, application)

    def claim(self, application: Key, wanted: Iterable[Action]) -> tuple[Sequence[Action], Sequence[Done]]:
        """The actions whose objects are now this application's, and a refusal for each of the others.

        Called right before the first request: two applications that planned the same new object at the same time must
        not both apply it.
        """
        actions: list[Action] = []
        lost: list[Done] = []
        for action in wanted:
            owner = self._owners.setdefault(action.ref, application)
            if owner == application:
                actions.append(action)
            else:
                lost.append(Done(replace(action, verb=Verb.REFUSE, reason=f"application {owner} owns it")))
        return actions, lost

    def settle(self, application: Key, owned: Collection[Ref]) -> Collection[Ref]:
        """Make the application's claims exactly `owned`, as far as nobody else has them."""
        free = {ref for ref, owner in self._owners.items() if owner == application and ref not in owned}
        for ref in free:
            del self._owners[ref]
        for ref in owned:
            self._owners.setdefault(ref, application)
        return free


class _OfOthers(Mapping[Ref, str]):
    def __init__(self, owners: Mapping[Ref, Key], me: Key) -> None:
        self._owners = owners
        self._me = me

    def __getitem__(self, ref: Ref) -> str:
        owner = self._owners[ref]
        if owner == self._me:
            raise KeyError(ref)
        return str(owner)

    @overload
    def get(self, ref: Ref, /) -> str | None: ...
    @overload
    def get(self, ref: Ref, /, default: str | _T) -> str | _T: ...
    def get(self, ref: Ref, /, default: object = None) -> object:
        # Asked for every object of every plan, nearly always for one's own: an exception each would be dear.
        owner = self._owners.get(ref)
        return default if owner is None or owner == self._me else str(owner)

    def __iter__(self) -> Iterator[Ref]:
        return (ref for ref, owner in self._owners.items() if owner != self._me)

    def __len__(self) -> int:
        return sum(1 for _ in self)
