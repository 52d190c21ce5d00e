"""Which application runs when: sources and their triggers, the queue, dependencies, preemption, drift, retries.

Read `daemon` (what is started), `sources` (revisions), `applications` (the level-triggered loop) and what it uses: `spec`,
`dependencies`, `claims` (one owner per object), `attempt` (from start to outcome), `owned` (drift), `removal`; then
`status` and `journal` (what users see) and `install` (our own kinds).  `informers` shows a remote API's objects.
"""
