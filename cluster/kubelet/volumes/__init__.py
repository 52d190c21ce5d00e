"""Pod volumes, one kind a file: what a pod mounts and where it lies on the host."""
