"""Which application runs when: sources and their triggers, the queue, dependencies, preemption, drift, retries.

Read `daemon` (what is started), `sources` (revisions), `applications` (the level-triggered loop), `owned` (drift), then
`status` (what users see) and `install` (our own kinds).
"""
