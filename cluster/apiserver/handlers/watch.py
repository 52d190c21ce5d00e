"""GET with `watch=true`: where the cursor starts, and what is sent before it."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result, WatchResult
from cluster.apiserver.listing import revision_of
from cluster.apiserver.negotiation import accepted
from cluster.apiserver.representation import representation_of
from cluster.apiserver.selection import candidates, matcher_of, selection_of
from cluster.apiserver.state import Row
from cluster.apiserver.watch import Watcher, WatchOptions
from cluster.machinery.errors import ApiError, BadRequest, Cause, Expired, Invalid, invalid_object
from cluster.machinery.numbers import whole_number


async def watch(backend: Backend, call: Call) -> Result:
    """Raises BadRequest, Invalid, Timeout; a resourceVersion that is too old is an ERROR in the stream."""
    state = backend.state
    selection = selection_of(call)
    version = call.request.parameter("resourceVersion")
    revision = revision_of(version)
    bookmarks = call.is_set("allowWatchBookmarks")
    match = call.request.parameter("resourceVersionMatch")
    announce = "sendInitialEvents" in call.request.query
    sends_initial = call.is_set("sendInitialEvents") if announce else revision == 0
    if announce and match != "NotOlderThan":
        raise _option_error("resourceVersionMatch must be NotOlderThan with sendInitialEvents", "resourceVersionMatch")
    if match and not announce:
        raise _option_error("is forbidden for watch unless sendInitialEvents is provided", "resourceVersionMatch")
    if announce and sends_initial and not bookmarks:
        raise _option_error("sendInitialEvents requires allowWatchBookmarks", "sendInitialEvents")
    await state.not_older_than(revision)
    table = state.table(call.table_id)
    matches = matcher_of(selection, state, call.descriptor)
    error: ApiError | None = None
    rows: Sequence[Row] = ()
    if sends_initial or not revision:
        if sends_initial:
            rows = candidates(selection, table)
        revision = state.revision
    elif revision < table.floor:
        error = Expired(f"too old resource version: {revision} ({table.floor})")
        revision = state.revision
    if call.descriptor.conversion is not None and error is None:
        rows = await backend.converter.rows(call.descriptor, rows)
        table = await backend.converted.table(call.descriptor, table, revision)
    initial = iter([row for row in rows if matches(row)] if matches is not None else rows)
    position = table.position_after(revision)
    wanted = accepted(call.request.headers.get("accept", ""))
    options = WatchOptions(
        position=position,
        initial=initial,
        bookmarks=bookmarks,
        announce_initial_end=announce and sends_initial,
        timeout_s=_timeout_of(call),
        error=error,
    )
    return WatchResult(Watcher(state, table, representation_of(call, wanted, state, backend.clock), matches, options))


def _timeout_of(call: Call) -> float:
    text = call.request.parameter("timeoutSeconds")
    if not text:
        return 0
    if (timeout_s := whole_number(text)) is None:
        raise BadRequest(f'timeoutSeconds: Invalid value: "{text}"')
    return timeout_s


def _option_error(message: str, field: str) -> Invalid:
    cause = Cause("FieldValueForbidden", f"Forbidden: {message}", field)
    return invalid_object("meta.k8s.io", "ListOptions", "", [cause])
