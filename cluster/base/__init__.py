"""Things the standard library lacks: clocks, entropy, supervised tasks, work queues, processes, files, keys, HTTP.

No Kubernetes words here, and no import from any other package of the project.
"""
