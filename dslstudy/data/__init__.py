"""Data sets: registry, download, interactions, splits."""
