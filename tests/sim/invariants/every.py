"""All of them."""

from __future__ import annotations

from tests.sim.invariants.addresses import AddressesAreUnique, PodsKeepTheirAddress
from tests.sim.invariants.containers import NoOrphans, OneContainerEach
from tests.sim.invariants.ownership import OnlyOwnedIsDeleted
from tests.sim.invariants.revisions import RevisionsIncrease
from tests.sim.invariants.rollouts import RolloutsKeepTheirBounds
from tests.sim.invariants.rule import Rule
from tests.sim.invariants.uids import UidsAreUsedOnce


def every_rule() -> tuple[Rule, ...]:
    return (
        RevisionsIncrease(),
        UidsAreUsedOnce(),
        OneContainerEach(),
        NoOrphans(),
        AddressesAreUnique(),
        PodsKeepTheirAddress(),
        RolloutsKeepTheirBounds(),
        OnlyOwnedIsDeleted(),
    )
