"""Lists: resourceVersion rules, pages of one consistent snapshot, and what happens when the snapshot is gone.

Upstream: apiserver/pkg/storage/continue.go, apimachinery/pkg/apis/meta/internalversion/validation.  The first page comes
from memory; later ones do while nothing changed, else from the store at the first page's revision.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace

import orjson

from cluster.apiserver.call import Call, RowsResult
from cluster.apiserver.conversion import Converter
from cluster.apiserver.selection import Selection, candidates, matcher_of, selection_of
from cluster.apiserver.state import ROOT, Row, State, Table, prefix_of, row_of_record
from cluster.machinery.errors import BadRequest, Cause, Expired, Invalid, invalid_object
from cluster.machinery.numbers import whole_number
from cluster.store.api import Compacted, Store

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing "
    "with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the "
    "time the first chunk was returned and now may show up in the list."
)


async def list_rows(call: Call, state: State, store: Store, converter: Converter) -> RowsResult:
    """The page a list request asks for.  Raises BadRequest, Invalid, Expired, Timeout; InternalError of a conversion."""
    page = await _selected(call, state, store, converter)
    if call.descriptor.conversion is None:
        return page
    return replace(page, rows=await converter.rows(call.descriptor, page.rows))


async def _selected(call: Call, state: State, store: Store, converter: Converter) -> RowsResult:
    selection = selection_of(call)
    limit = limit_of(call)
    token = call.request.parameter("continue")
    version, match = call.request.parameter("resourceVersion"), call.request.parameter("resourceVersionMatch")
    _check(version, match, token)
    table = state.table(call.table_id)
    if token:
        return await _continued(call, state, store, converter, table, selection, limit, token)
    revision = revision_of(version)
    if match == "Exact":
        if revision > state.revision:
            await state.not_older_than(revision)
        if table.revision > revision or revision < table.floor:
            return await _from_store(call, state, store, converter, table, selection, limit, "", revision)
        return await _page(call, state, converter, table, selection, limit, "", revision)
    await state.not_older_than(revision)
    return await _page(call, state, converter, table, selection, limit, "", state.revision)


def limit_of(call: Call) -> int:
    text = call.request.parameter("limit")
    if not text:
        return 0
    if (limit := whole_number(text)) is None:
        raise BadRequest(f'limit: Invalid value: "{text}"')
    return limit


def revision_of(text: str) -> int:
    """A resourceVersion as a number; unset and `0` are 0."""
    if not text:
        return 0
    if (revision := whole_number(text)) is None:
        raise BadRequest(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return revision


def _check(version: str, match: str, token: str) -> None:
    why = ""
    if match:
        if token:
            why = "resourceVersionMatch is forbidden when continue is provided"
        elif not version:
            why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        elif match not in ("Exact", "NotOlderThan"):
            raise _option_error("FieldValueNotSupported", f'Unsupported value: "{match}"', "resourceVersionMatch")
        elif match == "Exact" and version == "0":
            why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    if why:
        raise _option_error("FieldValueForbidden", f"Forbidden: {why}", "resourceVersionMatch")
    if token and version not in ("", "0"):
        raise BadRequest("specifying resource version is not allowed when using continue")


def _option_error(reason: str, message: str, field: str) -> Invalid:
    return invalid_object("meta.k8s.io", "ListOptions", "", [Cause(reason, message, field)])


async def _continued(
    call: Call,
    state: State,
    store: Store,
    converter: Converter,
    table: Table,
    selection: Selection,
    limit: int,
    token: str,
) -> RowsResult:
    start_after, revision = _read_token(token)
    start_after = prefix_of(table.id) + start_after
    if revision < 0:
        # A token to go on inconsistently: the rest as it is now.
        return await _page(call, state, converter, table, selection, limit, start_after, state.revision)
    if revision > state.revision:
        raise BadRequest("continue key is not valid: its revision is in the future")
    if table.revision <= revision and revision >= table.floor:
        return await _page(call, state, converter, table, selection, limit, start_after, revision)
    return await _from_store(call, state, store, converter, table, selection, limit, start_after, revision)


async def _page(
    call: Call,
    state: State,
    converter: Converter,
    table: Table,
    selection: Selection,
    limit: int,
    start_after: str,
    revision: int,
) -> RowsResult:
    rows = candidates(selection, table)
    if start_after:
        rows = [row for row in rows if row.path > start_after]
    matches = matcher_of(selection, state, call.descriptor)
    if matches is not None:
        # A conversion may change what is selected by.
        rows = await converter.rows(call.descriptor, rows)
        rows = [row for row in rows if matches(row)]
    return _cut(table, rows, limit, revision, None if selection.has_selectors else len(rows))


async def _from_store(
    call: Call,
    state: State,
    store: Store,
    converter: Converter,
    table: Table,
    selection: Selection,
    limit: int,
    start_after: str,
    revision: int,
) -> RowsResult:
    matches = matcher_of(selection, state, call.descriptor)
    prefix = prefix_of(table.id) + (f"{selection.namespace}/" if selection.namespace else "")
    found: list[Row] = []
    after = start_after
    try:
        while True:
            page = await store.range(prefix, start_after=after, limit=limit, revision=revision)
            rows: Sequence[Row] = [row_of_record(record) for record in page.records]
            if matches is not None:
                rows = await converter.rows(call.descriptor, rows)
            found += [row for row in rows if matches is None or matches(row)]
            if not page.remaining or (limit and len(found) > limit):
                break
            after = page.records[-1].key
            if limit and matches is None:
                break
    except Compacted:
        fresh = _token(-1, start_after.removeprefix(prefix_of(table.id))) if start_after else ""
        message = _TOO_OLD if start_after else f"The resourceVersion for the provided list is too old: {revision}"
        raise Expired(message, metadata={"continue": fresh} if fresh else {}) from None
    if limit and len(found) <= limit and page.remaining:
        last = found[-1].path.removeprefix(prefix_of(table.id))
        remaining = None if selection.has_selectors else page.remaining
        return RowsResult(found, revision, _token(revision, last), remaining)
    return _cut(table, found, limit, revision, None)


def _cut(table: Table, rows: Sequence[Row], limit: int, revision: int, total: int | None) -> RowsResult:
    if not limit or len(rows) <= limit:
        return RowsResult(rows, revision)
    kept = rows[:limit]
    last = kept[-1].path.removeprefix(prefix_of(table.id))
    return RowsResult(kept, revision, _token(revision, last), None if total is None else total - limit)


def _token(revision: int, last: str) -> str:
    text = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": last})
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


class _BadToken(BadRequest):
    def __init__(self) -> None:
        super().__init__("continue key is not valid")


def _read_token(token: str) -> tuple[str, int]:
    try:
        decoded = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        last, revision = decoded["start"], decoded["rv"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise _BadToken from None
    if not isinstance(last, str) or not isinstance(revision, int) or ROOT in last or ".." in last:
        raise _BadToken
    return last, revision
