"""Supervised SimCSE on Ray Train."""
