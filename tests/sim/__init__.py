"""The whole system on virtual time: the real composition on a store, nodes and a repository in memory, from one seed."""
