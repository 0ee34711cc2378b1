"""Item-kNN: you get what is most like what you had (book: From BPR to the softmax loss)."""

from typing import Self

import numpy as np
from scipy.sparse import csr_matrix, vstack

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError

# Similarities in flight while neighbours are chosen: 16 M float64 are 128 MB.
_BLOCK = 2**24


class ItemKNN:
    """Cosine item-based nearest neighbours (Sarwar et al., 2001; Deshpande & Karypis, 2004).

    With C the co-occurrence counts and n the item counts, ``similarity(j, i) = C_ji / (sqrt(n_j n_i) + shrinkage)``;
    an item's score for a user sums the similarities to those of its neighbours that the user has.

    Args:
        num_neighbors: neighbours k that each item keeps; of equally similar ones those with the lowest ids.
        shrinkage: distrust of similarities that rest on few interactions.

    Raises:
        InputError: ``num_neighbors`` below 1 or ``shrinkage`` below 0.
    """

    def __init__(self, num_neighbors: int = 100, shrinkage: float = 10.0) -> None:
        if num_neighbors < 1 or num_neighbors != int(num_neighbors):
            raise InputError(f"num_neighbors must be a positive integer, not {num_neighbors}")
        if not 0 <= shrinkage < np.inf:
            raise InputError(f"shrinkage must be a number of at least 0, not {shrinkage}")
        self.num_neighbors, self.shrinkage = int(num_neighbors), float(shrinkage)

    def fit(self, interactions: Interactions) -> Self:
        """Find every item's neighbours, a block of items at a time.

        Raises:
            InputError: there are no interactions.
        """
        if not len(interactions):
            raise InputError("item-kNN needs at least one training interaction")
        self.histories = interactions.csr().astype(np.float64)
        items = self.histories.T.tocsr()
        size = max(1, _BLOCK // interactions.num_items)
        self.similarities = vstack(
            [self._neighbors(items, start, start + size) for start in range(0, interactions.num_items, size)],
            format="csr",
        )
        return self

    def _neighbors(self, items: csr_matrix, start: int, stop: int) -> csr_matrix:
        """Similarities (items of the block, I) with only the k largest of each row left."""
        lengths = np.sqrt(np.diff(items.indptr))
        similarity = (items[start:stop] @ self.histories).toarray()
        # an item without interactions has no co-occurrences either: keep 0 / 0 a 0
        similarity /= np.maximum(np.outer(lengths[start:stop], lengths) + self.shrinkage, np.finfo(float).tiny)
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = 0  # nobody is their own neighbour
        if self.num_neighbors < similarity.shape[1]:
            place = similarity.shape[1] - self.num_neighbors
            least = np.partition(similarity, place, axis=1)[:, place, None]
            room = self.num_neighbors - (similarity > least).sum(axis=1, keepdims=True)
            ties = similarity == least
            similarity[(similarity < least) | (ties & (ties.cumsum(axis=1) > room))] = 0
        return csr_matrix(similarity)

    def score_block(self, users: np.ndarray) -> np.ndarray:
        """Scores (b, I) float32 of all items for users (b,)."""
        return (self.histories[users] @ self.similarities.T).toarray().astype(np.float32)
