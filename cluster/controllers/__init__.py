"""Controllers, one a file, each in the same three parts: what wakes it, a pure `plan_*`, a short `reconcile(key)`.

They know keys and current state, never events; they write only through a Transport under their own identity.
"""
