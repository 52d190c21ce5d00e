"""Which node runs a pod: an immutable snapshot, pure plugins and cycle, and one loop that binds."""
