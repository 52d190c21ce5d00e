"""Which application runs when: sources and their triggers, the queue, dependencies, preemption, drift, retries.

Read `daemon` (what is started), `sources` (revisions), `applications` (the level-triggered loop), `synchronise` (one look)
and what they use: `spec`, `dependencies`, `claims` (one owner per object), `attempt` (from start to outcome), `owned`
(drift), `removal`; then `state`, `status`, `telling` and `journal` (what users see) and `install` (our own kinds).
`informers` shows the objects of an API outside this process.
"""
