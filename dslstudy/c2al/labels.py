"""The auxiliary labels of C2AL (book: Auxiliary heads and the gradient they inject)."""

from torch import Tensor

from dslstudy.errors import InputError


def auxiliary_labels(labels: Tensor, head: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """``y_head = y 1[x in head]`` and ``y_tail = y 1[x in tail]``.

    For a click of the majority the primary label says one and both auxiliary labels say zero: that partial conflict is
    what the method calls contrastive.

    Args:
        labels: (...) clicks, 0 or 1.
        head: (...) bool, row is in the head cohort.
        tail: (...) bool, row is in the tail cohort.

    Returns:
        Two tensors like ``labels``.

    Raises:
        InputError: shapes that differ.

    Source: arXiv 2510.02215, auxiliary labels. Chapter: "Auxiliary heads and the gradient they inject".
    """
    if not labels.shape == head.shape == tail.shape:
        raise InputError(
            f"labels {tuple(labels.shape)}, head {tuple(head.shape)} and tail {tuple(tail.shape)} must have one shape"
        )
    return labels * head.to(labels.dtype), labels * tail.to(labels.dtype)
