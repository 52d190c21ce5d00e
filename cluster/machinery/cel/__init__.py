"""CEL, the expression language of Kubernetes' extension points: parsed, type checked, compiled to closures, and metered.

Read in order: values, types, syntax, lexer, parser, compiler (with calls and folds), standard and the other libraries,
environment; then schema, which gives custom resources their types.  Knows nothing of CRDs, policies or requests.  It walks
our own dictionaries as they are: a conversion of every object would cost more than most rules.
"""

from cluster.machinery.cel.budget import Budget
from cluster.machinery.cel.environment import CompileError, Environment, Program
from cluster.machinery.cel.values import CelError, OverBudget

__all__ = ["Budget", "CelError", "CompileError", "Environment", "OverBudget", "Program"]
