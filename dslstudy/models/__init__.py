"""Backbones: user and item tables, and simple baselines."""
