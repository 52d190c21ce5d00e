"""Services to packet rules on one node.

Read in this order: `services` (Services, EndpointSlices and pods to a `ServiceMap`) and `ruleset` (that to a printable
`Ruleset`) decide purely, `diff` finds the change, `nft` carries it out in one transaction, `docker_user` gets forwarded
traffic past Docker's filter, `conntrack` forgets flows to endpoints that are gone, `proxy` is the loop.

Everything made on the host is named by the cluster's id, so that two clusters never touch each other's.  No rule is per
Service: a change is a change of map elements.
"""
