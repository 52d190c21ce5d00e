"""Scheduler plugins, one a file: one question, one reason, and what could change the answer."""
