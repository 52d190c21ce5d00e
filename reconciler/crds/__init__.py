"""The kinds this daemon reads and writes, one a file: the resource to address it and the CRD that serves it.

The daemon installs and upgrades them itself, through the API, in any cluster.
"""
