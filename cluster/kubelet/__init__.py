"""The node: turns pods bound to it into containers and reports what they do.

`plan` decides purely; `sync` observes, plans, acts and reports.  Containers we did not create are never touched.

Must not know: the store, the API server's insides, or any engine but through `runtime.api`.  Read in this order: `podspec`,
`identity`, `observe`, `plan`, `status` (what is and what should be, pure); `containers` with `environment`, `security`,
`limits`, `pod_files` (what a container is made of, pure); `volumes`, `images`, `prober`, `pod_starter`
(the effects); `sync` (one pod's loop); `kubelet` (all pods), `node` (the Node object), `streams` (entry to containers).
"""
