"""Requests in, Status or object out: routes, identity, authorization, admission, generic CRUD, watch, discovery.

Handlers are generic over resources: per-kind behaviour lives in `cluster.resources` strategies.  Only `server` knows sockets.

Read in this order: `http` (requests and replies as values), `apiserver` (the whole, and one request's way through it),
`routes`, `authz`, `dispatch`, `handlers/`; then `registry` (every write), `state` and `watch` (every read); then what you need.
"""
