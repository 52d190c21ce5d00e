"""Requests in, Status or object out: routes, identity, authorization, admission, generic CRUD, watch, discovery.

Handlers are generic over resources: per-kind behaviour lives in `cluster.resources` strategies.  Only `server` knows sockets.
"""
