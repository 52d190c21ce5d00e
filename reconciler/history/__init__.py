"""Runs: append-only, bounded, in the API; the source of rollback, blame and audit."""
