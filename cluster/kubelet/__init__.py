"""The node: turns pods bound to it into containers and reports what they do.

`plan` decides purely; `sync` observes, plans, acts and reports.  Containers we did not create are never touched.
"""
