"""The three patch formats that need no field ownership: JSON patch, merge patch, strategic merge patch.

Each takes the current object and the patch and returns a new object, never changing either; what did not change is shared.
"""

from cluster.machinery.patch.json_patch import OPERATIONS_MAX, json_patch
from cluster.machinery.patch.merge import merge_patch
from cluster.machinery.patch.strategic import strategic_merge

__all__ = ["OPERATIONS_MAX", "json_patch", "merge_patch", "strategic_merge"]
