"""kustomize, offline: a directory of the tree to objects.  Fetches nothing, runs nothing, never leaves the tree."""
