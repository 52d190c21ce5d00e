"""The catalogue of kinds: schema, defaults, validation, columns and strategies, one file per API group.

Pure.  Knows what each kind looks like and what may change in it; knows nothing of how it is stored or served.

Read in order: builtin (what there is), strategy (what a kind decides), kind and catalog (how both meet), core and pod as
examples, custom (the same from a CRD).
"""
