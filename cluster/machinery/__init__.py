"""The grammar of Kubernetes: objects, selectors, quantities, schemas, patches, server-side apply, Status errors, bodies.

Pure: values in, values out.  Imports no asyncio, time, random, socket, subprocess or os.

Read objects and errors first.  schema/ compiles what a kind may hold; patch/ and apply (over fieldsets, ownership and
managed_fields) change objects by it; yaml, protobuf and bodies bring them in; the rest is vocabulary.
"""
