"""How every component talks to an API server: transport, cache, informer, the controller loop, events, leases.

Knows the wire contract, never the store.  The same interfaces serve the in-process server and any remote one.
"""
