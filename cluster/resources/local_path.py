"""Volumes that are a directory of one node: the class every cluster has, and how such a volume names its directory.

The volume says which driver and which handle, never a path: where its data lies is the node's own business.
"""

from __future__ import annotations

from cluster.machinery.objects import Obj

DRIVER = "local-path.reconciler.io"
CLASS = "local-path"


def local_path_class() -> Obj:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": DRIVER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }
