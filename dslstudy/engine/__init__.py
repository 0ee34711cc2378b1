"""Trainers: stacks of runs that share data and backbone."""
