"""Is it healthy: one pure rule per kind; the worst wins."""
