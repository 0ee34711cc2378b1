"""Loss functions of scores: one loss, one file, one shape contract.

``positive (..., B)``, ``negatives (..., B, N)``, optional ``mask (..., B, N)`` (True = a real negative),
hyperparameters as numbers or tensors that broadcast over the leading axes ``...`` (a stack of runs); the result is
``(..., B)``, one loss per example. The capitalised names are ``nn.Module`` wrappers that keep the hyperparameters and
reduce.
"""

from dslstudy.losses._checks import unchecked
from dslstudy.losses.advinfonce import AdvInfoNCE, advinfonce_loss, hardness_divergence, hardness_from_logits
from dslstudy.losses.blind_slate import BlindSlate, blind_slate_loss
from dslstudy.losses.bpr import BPR, bpr_loss
from dslstudy.losses.bsl import BSL, bsl_loss
from dslstudy.losses.dsl import DSL, READINGS, DslTerms, dsl_loss, dsl_terms
from dslstudy.losses.dsl_positive_weight import DSLPositiveWeight, dsl_positive_weight_loss
from dslstudy.losses.label_smoothing import LabelSmoothing, label_smoothing_loss
from dslstudy.losses.llpauc import LLPAUC, LLPAUCState, llpauc_loss
from dslstudy.losses.loss_reweighting import LossReweighting, loss_reweighting_loss
from dslstudy.losses.own_score import OwnScore, own_score_loss
from dslstudy.losses.positive_weight import PositiveWeight, positive_weight_loss
from dslstudy.losses.psl import ACTIVATIONS, PSL, psl_loss
from dslstudy.losses.slatk import SLatK, slatk_loss, topk_quantile
from dslstudy.losses.softmax import Softmax, softmax_loss

__all__ = [
    "ACTIVATIONS",
    "BPR",
    "BSL",
    "DSL",
    "LLPAUC",
    "PSL",
    "READINGS",
    "AdvInfoNCE",
    "BlindSlate",
    "DSLPositiveWeight",
    "DslTerms",
    "LLPAUCState",
    "LabelSmoothing",
    "LossReweighting",
    "OwnScore",
    "PositiveWeight",
    "SLatK",
    "Softmax",
    "advinfonce_loss",
    "blind_slate_loss",
    "bpr_loss",
    "bsl_loss",
    "dsl_loss",
    "dsl_positive_weight_loss",
    "dsl_terms",
    "hardness_divergence",
    "hardness_from_logits",
    "label_smoothing_loss",
    "llpauc_loss",
    "loss_reweighting_loss",
    "own_score_loss",
    "positive_weight_loss",
    "psl_loss",
    "slatk_loss",
    "softmax_loss",
    "topk_quantile",
    "unchecked",
]
