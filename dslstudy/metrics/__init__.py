"""Ranking metrics and significance."""
