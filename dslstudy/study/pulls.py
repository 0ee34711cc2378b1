"""How hard a trained loss pulls its positives, beside its push against the negatives (book: Ablations and readings)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from dslstudy.engine.companions.slatk import TopKQuantiles
from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.engine.sampler import Positives
from dslstudy.errors import InputError
from dslstudy.study import measured
from dslstudy.study.config import RunConfig
from dslstudy.study.inside import draw_sample, scores_of
from dslstudy.study.measured import Measured
from dslstudy.study.provenance import code_fingerprint
from dslstudy.study.study import Study

#: of the measurement; a new one makes old measurements stale
FORMAT = 1
#: quantiles of the examples that are kept
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, kw_only=True)
class Pull(Measured):
    """Pull over push under a trained model.

    Attributes:
        shares: quantiles at :data:`LEVELS` over the examples of a batch.
        format: of the measurement.
        fingerprint: of the code that trained the model.
    """

    suffix: ClassVar[str] = "pull"
    shares: list[float]
    format: int = FORMAT

    def stale(self, run: RunConfig) -> bool:
        """Whether what was measured, or the code that trained the model, has changed since."""
        return self.format != FORMAT or super().stale(run)


def obtain_pull(study: Study, run: RunConfig) -> Pull:
    """What was measured on a run; measured now, the run trained for it if need be, if nothing fresh is there.

    Args:
        study: trains the run and keeps what was found.
        run: see :func:`pull_shares`.

    Raises:
        InputError: as :func:`pull_shares`.
    """
    found = kept(study, run)
    if found is not None and not found.stale(run):
        return found
    quantiles = np.quantile(pull_shares(study, run), LEVELS).tolist()
    pull = Pull(shares=quantiles, fingerprint=code_fingerprint(run))
    measured.keep(study, run, pull)
    return pull


def kept(study: Study, run: RunConfig) -> Pull | None:
    """What was measured on a run: a fresh measurement if there is one, else a stale one, else ``None``."""
    return measured.kept(study, run, Pull)


def pull_shares(study: Study, run: RunConfig) -> NDArray[np.float64]:
    """Pull on the positive as a share of the push against all negatives, for one batch of training examples.

    With losses l_i of the trained model, ``-∂l_i/∂s_ui`` over ``Σ_j ∂l_i/∂s_uj``: one for every loss that sees its
    scores as margins only, c for a positive with weight c. SL@K's quantiles are estimated as its training does.

    Args:
        study: trains the run if its tables are not kept.
        run: of a loss of cosines that carries nothing it has learned along.

    Returns:
        One for each example that pushes, of as many as a batch has or there are training interactions.

    Raises:
        InputError: the loss scores inner products, or has learned variables besides the model.
    """
    objective = OBJECTIVES.get(run.loss)
    if objective is None or run.score != "cosine":
        raise InputError(f"the pull of {run.loss} with score {run.score} cannot be told; give a loss of cosines")
    if objective.companion not in (None, TopKQuantiles):
        raise InputError(f"{run.loss} learns variables besides the model, which are not kept; its pull cannot be told")
    model = study.train(run)
    train, tables = model.split.train, [torch.from_numpy(table) for table in (model.user_table, model.item_table)]
    sample = draw_sample(train, examples=run.batch_size, num_negatives=run.num_negatives, seed=run.seed)
    scores = scores_of(sample, *tables)
    positive, negatives = (part[None].requires_grad_() for part in (scores.positive, scores.negatives))
    keywords = {**objective.numbers([run.loss_parameters], positive.device)}
    if objective.companion is TopKQuantiles:
        companion = TopKQuantiles([run], Positives(train, device=positive.device))
        companion.start_epoch(1, lambda: tuple(table[None] for table in tables))
        keywords |= companion.keywords(companion.variables(), sample.users[None], sample.negatives[None])
    if objective.uses_similarity:
        keywords["item_similarity"] = scores.similarity[None]
    words = [name for name, value in objective.defaults.items() if isinstance(value, str)]
    keywords |= dict(zip(words, objective.words(run.loss_parameters), strict=True))
    losses = objective.function(positive, negatives, mask=scores.real[None], **keywords)
    of_positive, of_negatives = torch.autograd.grad(losses.sum(), (positive, negatives))
    push = of_negatives.sum(-1)
    return (-of_positive / push)[push != 0].double().numpy()
