"""Schemas compiled once into shared nodes, and what is done with them: pruning, defaults, type checks, validation.

Read in order: node, compile, structural, fields, types, fitting, validate.  Merge keys and list types live on the same
nodes, so that patches and server-side apply need no second schema.
"""

from cluster.machinery.schema.compile import compile_definitions, compile_structural
from cluster.machinery.schema.fields import apply_defaults, prune, unknown_fields, without_nulls
from cluster.machinery.schema.fitting import fits
from cluster.machinery.schema.node import ANYTHING, SCALARS, Node, Validations
from cluster.machinery.schema.structural import check_structural, has_rules
from cluster.machinery.schema.types import type_errors
from cluster.machinery.schema.validate import ABSENT, counterpart, validate

__all__ = [
    "ABSENT",
    "ANYTHING",
    "SCALARS",
    "Node",
    "Validations",
    "apply_defaults",
    "check_structural",
    "compile_definitions",
    "compile_structural",
    "counterpart",
    "fits",
    "has_rules",
    "prune",
    "type_errors",
    "unknown_fields",
    "validate",
    "without_nulls",
]
