"""The whole decision: every declared or owned object gets exactly one action, with the reason a person reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from reconciler.model import Action, Manifest, Owned, Plan, Ref, Verb
from reconciler.plan.authority import UNRESTRICTED, Authority
from reconciler.plan.diff import Live
from reconciler.plan.guard import Evidence, held_because, precious_because
from reconciler.plan.normalise import Normalised
from reconciler.plan.order import wave_of
from reconciler.plan.policy import Drift, policy_of

_Make = Callable[[Verb, str], Action]
_AS_DECLARED = "as declared"


class Kept:
    """The decisions that found objects as declared: the same manifest, live state and entry again need no new one."""

    def __init__(self) -> None:
        self._authority = UNRESTRICTED
        self._kept: dict[Ref, tuple[Live, Owned, Action]] = {}

    def begin(self, authority: Authority) -> None:
        if authority != self._authority:
            self._authority = authority
            self._kept.clear()

    def find(self, manifest: Manifest, there: Live | None, ours: Owned | None) -> Action | None:
        known = self._kept.get(manifest.ref)
        if known is None or known[0] is not there or known[1] is not ours or known[2].manifest is not manifest:
            return None
        return known[2]

    def remember(self, there: Live, ours: Owned, action: Action) -> None:
        self._kept[action.ref] = (there, ours, action)

    def forget(self, others: Collection[Ref]) -> None:
        """Objects that are declared no more."""
        for ref in others:
            self._kept.pop(ref, None)


def plan(
    desired: Normalised,
    live: Mapping[Ref, Live],
    owned: Mapping[Ref, Owned],
    *,
    claims: Mapping[Ref, str],
    moved: Mapping[Ref, str] = MappingProxyType({}),
    authority: Authority = UNRESTRICTED,
    evidence: Evidence,
    drift: Drift = Drift.CORRECT,
    prune: bool = True,
    kept: Kept | None = None,
) -> Plan:
    """Decide what to do; do nothing.

    Actions are in the order in which they are carried out; those that keep an object come first, as declared.

    `live` holds what exists of the declared and owned objects, `claims` the objects of other applications with their
    owner's name, `moved` the owned objects that another application declares now: those are let go, not deleted.

    Laws: prunes are a subset of `owned`; input order is irrelevant; plan, apply, plan is all KEEP; no object that a refused
    manifest names is pruned.
    """
    kept = kept or Kept()
    kept.begin(authority)
    keeps: list[Action] = []
    actions = [_refused(manifest, reason) for manifest, reason in desired.refused]
    for manifest in desired.manifests:
        ref = manifest.ref
        there, ours = live.get(ref), owned.get(ref)
        action = kept.find(manifest, there, ours)
        if action is None or claims.get(ref):
            action = _decided(manifest, there, ours, claims=claims, authority=authority, drift=drift)
            if action.reason is _AS_DECLARED and there is not None and ours is not None:
                kept.remember(there, ours, action)
        (keeps if action.verb is Verb.KEEP else actions).append(action)
    spoken_for = {manifest.ref for manifest in desired.manifests}
    # A manifest refused for its double or its kind still names an object that somebody wants: it is not pruned.
    spoken_for |= {action.ref for action in actions}
    prunes = [owned[ref] for ref in sorted(owned.keys() - spoken_for)]
    kept.forget([entry.ref for entry in prunes])
    evidence_held = ""
    if prune:
        deletions = [entry.ref for entry in prunes if entry.ref in live and entry.ref not in moved]
        evidence_held = held_because(deletions, owned=len(owned), desired=len(desired.manifests), evidence=evidence)
    for entry in prunes:
        if entry.ref in moved:
            reason = f"application {moved[entry.ref]} declares it now and takes it over"
            actions.append(Action(Verb.PRUNE, entry.ref, wave_of(entry.ref), reason))
            continue
        hold = evidence_held if prune else "pruning is switched off"
        actions.append(_pruned(entry, live.get(entry.ref), hold=hold, authority=authority, evidence=evidence))
    actions.sort(key=_carried_out)
    return Plan((*keeps, *actions), held=evidence_held)


def _refused(manifest: Manifest, reason: str) -> Action:
    return Action(Verb.REFUSE, manifest.ref, wave_of(manifest.ref), reason, manifest)


def _decided(
    manifest: Manifest,
    there: Live | None,
    ours: Owned | None,
    *,
    claims: Mapping[Ref, str],
    authority: Authority,
    drift: Drift,
) -> Action:
    ref = manifest.ref
    wave = wave_of(ref)

    def action(verb: Verb, reason: str) -> Action:
        return Action(verb, ref, wave, reason, manifest, there.uid if there else "")

    if refusal := authority.refusal(ref):
        return action(Verb.REFUSE, refusal)
    if owner := claims.get(ref):
        return action(Verb.REFUSE, f"application {owner} owns it")
    policy = policy_of(manifest.obj)
    if policy.problem:
        return action(Verb.REFUSE, policy.problem)
    drift = policy.drift or drift
    if policy.if_not_present and there is not None and not there.deleting:
        return action(Verb.KEEP, "exists, and is only created when it does not")
    if there is None:
        if ours is None or not ours.uid or ours.digest != manifest.digest:
            return action(Verb.CREATE, "declared")
        return _drifted(action, Verb.CREATE, "was deleted", drift)
    if there.deleting:
        return action(Verb.KEEP, "is being deleted; it is created again once it is gone")
    if ours is None:
        return action(Verb.UPDATE, "exists and is taken over")
    if ours.digest != manifest.digest:
        return action(Verb.UPDATE, "changed in the source")
    if ours.uid != there.uid or ours.projection != there.projection:
        by = f", last written by {there.writer}" if there.writer else ""
        return _drifted(action, Verb.UPDATE, f"was changed by someone else{by}", drift)
    return action(Verb.KEEP, _AS_DECLARED)


def _drifted(action: _Make, verb: Verb, reason: str, drift: Drift) -> Action:
    match drift:
        case Drift.CORRECT:
            return action(verb, reason)
        case Drift.REPORT:
            return action(Verb.HOLD, f"{reason}; only reported")
        case Drift.IGNORE:
            return action(Verb.KEEP, f"{reason}; ignored")


def _pruned(entry: Owned, there: Live | None, *, hold: str, authority: Authority, evidence: Evidence) -> Action:
    """PRUNE with an empty uid forgets the entry and deletes nothing."""
    ref = entry.ref
    wave = wave_of(ref)
    if there is None:
        return Action(Verb.PRUNE, ref, wave, "declared no more, already gone")
    ours = there.uid == entry.uid if entry.uid else there.managed
    if not ours:
        return Action(Verb.PRUNE, ref, wave, "declared no more; someone else created it anew, so it stays")
    hold = hold or authority.refusal(ref) or precious_because(ref, evidence)
    if there.keep:
        hold = "its annotation says never to prune it"
    if hold:
        return Action(Verb.HOLD, ref, wave, f"declared no more, but kept: {hold}", uid=there.uid)
    return Action(Verb.PRUNE, ref, wave, "declared no more", uid=there.uid)


def _carried_out(action: Action) -> tuple[bool, int, Ref, str]:
    """Writes by wave, then prunes by wave backwards."""
    last = action.verb is Verb.PRUNE or (action.verb is Verb.HOLD and action.manifest is None)
    place = str(action.manifest.origin) if action.manifest else ""
    return (last, -action.wave if last else action.wave, action.ref, place)
