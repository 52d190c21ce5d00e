"""The grammar of Kubernetes: objects, selectors, quantities, schemas, patches, server-side apply, Status errors, tables.

Pure: values in, values out.  Imports no asyncio, time, random, socket, subprocess or os.
"""
