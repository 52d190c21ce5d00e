"""Bytes at revisions: get, range, compare-and-set transactions, watch, lease, compaction, snapshot.

Start with `api`, the protocol and its guarantees, then `memory`, which is their executable specification.  Shared by the
engines: `transaction` (compare-and-set), `hub` (one feed, many watchers), `leases`.  The embedded engine: `keys` and `view`
(what it holds in memory), `group` (deciding many transactions at once), `sqlite_log` and `sqlite_file` (the disk), `sqlite`.
`compactor` says what history may go.  Knows no Kubernetes: imports neither `machinery` nor `resources`.
"""
