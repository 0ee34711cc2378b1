"""The plain objective: cross-entropy of the clicks and nothing else (book: Against the obvious alternatives)."""

from dataclasses import dataclass

from dslstudy.c2al.method import Method


@dataclass(frozen=True)
class Plain(Method):
    """The baseline that every other method is paired with."""
