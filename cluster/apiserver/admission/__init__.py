"""Admission plugins, one a file; their order is a literal tuple here."""
