"""Cluster DNS: `records` is the pure zone, `server` answers on each node and forwards the rest."""
