"""Popularity: everybody gets what most people had (book: From BPR to the softmax loss)."""

from typing import Self

import numpy as np

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError


class Popularity:
    """Scores an item by its number of training interactions: the floor that any personal model must leave behind."""

    def fit(self, interactions: Interactions) -> Self:
        """Count.

        Raises:
            InputError: there are no interactions.
        """
        if not len(interactions):
            raise InputError("popularity needs at least one training interaction")
        self.item_scores = interactions.item_counts().astype(np.float32)
        return self

    def score_block(self, users: np.ndarray) -> np.ndarray:
        """Scores (b, I) float32 of all items for users (b,)."""
        return np.tile(self.item_scores, (len(users), 1))
