"""Runs, records, profiles and the store."""
