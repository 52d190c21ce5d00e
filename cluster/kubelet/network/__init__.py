"""The node's pod network: a bridge of ours, one veth pair and one address a pod.  IPv4.

What belongs here: ranges and addresses (pure), netlink calls, the bridge.  Not here: Services, masquerading and packet
filters (`proxy`), names (`dns`), containers (`runtime`).  Everything happens in the network namespace the process is in.
Reading order: addresses, netlink, bridge.
"""
