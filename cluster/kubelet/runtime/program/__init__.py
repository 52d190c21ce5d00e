"""The sandbox program: the one executable we bring into containers, made here without a compiler.

It holds a pod's namespaces (`pause`) and lets a joining container wait for its host name (`start`).  `source` is the
program, in the operations of `machine`; `x86_64` and `arm64` encode them; `elf` wraps the bytes; `build` does it all.
Nothing here knows Docker or does I/O.  Reading order: source, machine, x86_64, arm64, elf, build.
"""
