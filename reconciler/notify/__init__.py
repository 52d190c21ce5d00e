"""Telling others: commit status and webhooks."""
