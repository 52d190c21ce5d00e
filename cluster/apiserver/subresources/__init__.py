"""Handlers of single subresources: status, scale, binding, log, exec and their kin."""
