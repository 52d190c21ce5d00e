"""A revision to manifests: deterministic, offline, limited."""
