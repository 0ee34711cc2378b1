"""The objective of C2AL (book: Auxiliary heads and the gradient they inject)."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from dslstudy.c2al.labels import auxiliary_labels
from dslstudy.c2al.method import require_weight
from dslstudy.errors import InputError


def c2al_objective(
    logits: Tensor,
    head_logits: Tensor,
    tail_logits: Tensor,
    labels: Tensor,
    head: Tensor,
    tail: Tensor,
    *,
    lambda_head: float,
    lambda_tail: float,
) -> Tensor:
    """``BCE(logits, y) + λ_head BCE(head_logits, y_head) + λ_tail BCE(tail_logits, y_tail)``.

    Every mean runs over the whole batch: a row outside a cohort is a negative example of that cohort's head.

    Args:
        logits: (b,) of the primary head.
        head_logits: (b,) of the head cohort's head.
        tail_logits: (b,) of the tail cohort's head.
        labels: (b,) float clicks.
        head: (b,) bool, row is in the head cohort.
        tail: (b,) bool, row is in the tail cohort.
        lambda_head: weight of the head cohort's loss.
        lambda_tail: weight of the tail cohort's loss.

    Returns:
        () the objective. With both weights zero it is the primary loss, bit for bit, and so are its gradients.

    Raises:
        InputError: shapes that differ, labels that are no floats, a weight that is negative or not finite, no rows.

    Source: arXiv 2510.02215, the training objective. Chapter: "Auxiliary heads and the gradient they inject".
    """
    require_weight("lambda_head", lambda_head)
    require_weight("lambda_tail", lambda_tail)
    _require_rows(logits, head_logits, tail_logits, labels)
    head_labels, tail_labels = auxiliary_labels(labels, head, tail)
    loss = binary_cross_entropy_with_logits(logits, labels)
    # a zero weight must not even add a zero to the gradients
    if lambda_head:
        loss = loss + lambda_head * binary_cross_entropy_with_logits(head_logits, head_labels)
    if lambda_tail:
        loss = loss + lambda_tail * binary_cross_entropy_with_logits(tail_logits, tail_labels)
    return loss


def _require_rows(*tensors: Tensor) -> None:
    *scores, labels = tensors
    if not labels.is_floating_point() or labels.numel() == 0:
        raise InputError(f"labels must be floats, at least one; got {labels.numel()}, {labels.dtype}")
    if any(each.shape != labels.shape for each in scores):
        shapes = ", ".join(str(tuple(each.shape)) for each in scores)
        raise InputError(f"logits must have the shape {tuple(labels.shape)} of labels; got {shapes}")
