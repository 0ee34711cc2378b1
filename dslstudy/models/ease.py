"""EASE: a linear item-to-item model in closed form (book: From BPR to the softmax loss)."""

from typing import Self

import numpy as np
import torch

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError

# The inverse takes three float64 matrices I x I at its peak: 6 GB at this size.
MAX_ITEMS = 16_000


class EASE:
    """Embarrassingly shallow autoencoder (Steck, 2019, equation 8).

    The item-to-item weights that minimise ``|X - XB|^2 + regularization |B|^2`` with ``diag(B) = 0`` are
    ``B_ij = -P_ij / P_jj`` off the diagonal, with ``P = (X'X + regularization I)^-1``.

    Args:
        regularization: the L2 penalty, lambda in the paper.

    Raises:
        InputError: ``regularization`` is not above 0.
    """

    def __init__(self, regularization: float = 250.0) -> None:
        if not 0 < regularization < np.inf:
            raise InputError(f"regularization must be a number above 0, not {regularization}")
        self.regularization = float(regularization)

    def fit(self, interactions: Interactions) -> Self:
        """Invert the regularised Gram matrix (I, I).

        Raises:
            InputError: there are no interactions, or too many items for a dense inverse.
        """
        if not len(interactions):
            raise InputError("EASE needs at least one training interaction")
        if interactions.num_items > MAX_ITEMS:
            raise InputError(
                f"EASE inverts a dense items x items matrix; {interactions.num_items:,} items are more than the"
                f" {MAX_ITEMS:,} that fit in ordinary memory. Use item-knn there"
            )
        self.histories = interactions.csr().astype(np.float32)
        counts = self.histories.T.astype(np.float64) @ self.histories.astype(np.float64)
        gram = torch.from_numpy(counts.toarray())
        gram.diagonal().add_(self.regularization)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = inverse.div_(-inverse.diagonal().clone())
        weights.fill_diagonal_(0)
        self.weights = weights.float().numpy()
        return self

    def score_block(self, users: np.ndarray) -> np.ndarray:
        """Scores (b, I) float32 of all items for users (b,)."""
        return self.histories[users] @ self.weights
