"""Loss functions of scores: one loss, one file, one shape contract.

``positive (..., B)``, ``negatives (..., B, N)``, optional ``mask (..., B, N)`` (True = a real negative),
hyperparameters as numbers or tensors that broadcast over the leading axes ``...`` (a stack of runs); the result is
``(..., B)``, one loss per example. The capitalised names are ``nn.Module`` wrappers that keep the hyperparameters and
reduce.
"""

from dslstudy.losses._checks import unchecked
from dslstudy.losses.bpr import BPR, bpr_loss
from dslstudy.losses.dsl import DSL, READINGS, DslTerms, dsl_loss, dsl_terms
from dslstudy.losses.softmax import Softmax, softmax_loss

__all__ = [
    "BPR",
    "DSL",
    "READINGS",
    "DslTerms",
    "Softmax",
    "bpr_loss",
    "dsl_loss",
    "dsl_terms",
    "softmax_loss",
    "unchecked",
]
