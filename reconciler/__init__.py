"""GitOps: desired state from Git or a folder into any Kubernetes API.

Read `model` (the values), `pipeline` (one application, one revision: the straight line), then the stages it calls in
order: `source`, `render`, `plan`, `apply`, `health`, `history`, `notify`.  `daemon` decides which application runs when.
From `cluster` it uses only `base`, `machinery`, `resources` and `client`; the commands that start a cluster use `compose`.
"""
