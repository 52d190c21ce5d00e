"""Bytes at revisions: get, range, compare-and-set transactions, watch, lease, compaction, snapshot.

Start with `api`, the protocol and its guarantees.  Knows no Kubernetes: imports neither `machinery` nor `resources`.
"""
