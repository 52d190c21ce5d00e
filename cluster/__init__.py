"""The built-in Kubernetes-compatible cluster.

Read `base` (what the standard library lacks), `machinery` (the grammar of Kubernetes, pure), `resources` (the catalogue),
`store` (bytes at revisions), `client` (how every component talks to an API server), then the roles: `apiserver`,
`controllers`, `scheduler`, `kubelet`, `proxy`, `dns`.  `compose` builds roles from settings and `ports` (`machine` fills
them for this host) and is the only module that sees everything.  This package never imports `reconciler`.
"""
