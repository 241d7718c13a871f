"""Searching: one thing, for evaluation, mining and serving."""
