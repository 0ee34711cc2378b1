"""The study of false negatives, and the settings that the last chapters of the study look at (book: Noise, Inside
training).

Published protocol: a tenth of each user's training items is hidden, and each negative is with some probability one of
them. Each loss keeps the hyperparameters that it was given on the data as they are: no loss is tuned to the noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dslstudy import dro
from dslstudy.engine.false_negatives import with_false_negatives
from dslstudy.engine.sampler import Positives
from dslstudy.errors import InputError
from dslstudy.metrics.significance import Interval, holm, paired_bootstrap, percentile_interval
from dslstudy.study.cells import Cell, seed_runs, start_runs
from dslstudy.study.config import HIDDEN_FRACTION, RunConfig
from dslstudy.study.inside import Sample, among, draw_sample, inferred, scores_of
from dslstudy.study.protocol import Protocol
from dslstudy.study.store import Record
from dslstudy.study.study import Study, TrainedModel, hidden_of

#: as published; zero, the reference, hides the same items and draws them as often as any other
PROBABILITIES = {
    "smoke": (0.0, 0.2, 0.5),
    "quick": (0.0, 0.1, 0.5),
    "paper": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
}
LOSSES = {
    "smoke": ("softmax", "slatk", "dsl"),
    "quick": ("softmax", "bsl", "slatk", "dsl"),
    "paper": ("softmax", "bsl", "psl", "slatk", "dsl"),
}
_SEEDS = {"smoke": 2, "quick": 2, "paper": 5}
_INSIDE_SEEDS = {"smoke": 2, "quick": 3, "paper": 2}
#: at which a trained model is asked how hard a softmax loss would push its hidden items
TEMPERATURES = (0.05, 0.1, 0.2, 0.5, 1.0)
#: training examples whose negatives are looked at on a trained model
_EXAMPLES = {"smoke": 256, "quick": 2048, "paper": 4096}


@dataclass(frozen=True)
class Setting:
    """The hyperparameters with which a chapter trains a loss.

    Attributes:
        runs: one for each seed of the profile.
        tuned: whether a search on validation chose them; otherwise they are the point at which searches start.
    """

    runs: Sequence[RunConfig]
    tuned: bool


def setting_of(study: Study, protocol: Protocol, loss: str) -> Setting:
    """The best setting of a loss with matrix factorization if its search is on record, else where searches start.

    Args:
        study: whose stores are asked; nothing is trained.
        protocol: of a profile; the data are the first of its IID table.
        loss: one of :data:`~dslstudy.study.spaces.STARTS`.
    """
    cell = Cell(protocol=protocol, dataset=protocol.tables["iid"][0], backbone="mf", loss=loss)
    found = seed_runs(study, cell) if loss in protocol.losses else []
    return Setting(found or start_runs(cell), tuned=bool(found))


def noise_settings(study: Study, protocol: Protocol) -> tuple[dict[str, Setting], list[str]]:
    """What the chapter *Noise* trains; fewer losses at smaller profiles.

    BSL with two equal temperatures is the softmax loss, to the last bit; where its setting is that of SL, it is not
    trained a second time.

    Returns:
        Loss -> its setting, and the losses that are left out because they are SL under another name.
    """
    settings = {loss: setting_of(study, protocol, loss) for loss in LOSSES[protocol.name]}
    plain = settings["softmax"].runs[0]
    twins = [loss for loss, setting in settings.items() if loss == "bsl" and _is_softmax(setting.runs[0], plain)]
    return {loss: setting for loss, setting in settings.items() if loss not in twins}, twins


def _is_softmax(bsl: RunConfig, softmax: RunConfig) -> bool:
    """Whether a run of BSL is one of the softmax loss."""
    temperature = softmax.loss_parameters["temperature"]
    same = {"loss": softmax.loss, "loss_parameters": dict(softmax.loss_parameters)}
    return set(bsl.loss_parameters.values()) == {temperature} and bsl.to_dict() | same == softmax.to_dict()


def noise_runs(setting: Setting, profile: str) -> dict[float, list[RunConfig]]:
    """The runs of one loss in the chapter *Noise*: probability -> one configuration for each seed.

    A tenth of the training items is hidden in all of them. At profiles ``smoke`` and ``quick`` two probabilities beside
    zero and two seeds, at ``paper`` the five published ones and five seeds.

    Args:
        setting: of the loss.
        profile: decides probabilities and seeds.
    """
    hidden = {"hidden_fraction": HIDDEN_FRACTION}
    return {
        probability: [
            RunConfig.from_dict(run.to_dict() | hidden | {"hidden_probability": probability})
            for run in setting.runs[: _SEEDS[profile]]
        ]
        for probability in PROBABILITIES[profile]
    }


def inside_runs(study: Study, protocol: Protocol) -> dict[str, list[RunConfig]]:
    """The runs that the chapter *Inside training* watches: loss -> seeds of the IID table, for SL and DSL.

    Three seeds at profile ``quick``, two at ``smoke`` and ``paper``.
    """
    return {
        loss: list(setting_of(study, protocol, loss).runs[: _INSIDE_SEEDS[protocol.name]])
        for loss in ("softmax", "dsl")
    }


@dataclass(frozen=True)
class HiddenWeight:
    """What a trained model's loss does to false negatives among the negatives.

    Attributes:
        share: of the negatives that are hidden items, a mean over examples.
        kappa_hidden: their mean weight kappa; one for SL.
        kappa_others: mean weight of the other negatives.
        force: share of the worst-case distribution that they carry: how much of the push against negatives hits them.
        without_kappa: the same at the same temperatures and scores with kappa one.
        margin_hidden: their mean margin.
        margin_others: mean margin of the other negatives.
        force_at: temperature -> the share they would carry under a softmax loss with this temperature.
    """

    share: float
    kappa_hidden: float
    kappa_others: float
    force: float
    without_kappa: float
    margin_hidden: float
    margin_others: float
    force_at: Mapping[float, float]


def noisy_sample(run: RunConfig, *, examples: int) -> tuple[Sample, NDArray[np.bool_]]:
    """Training examples of users with hidden items, negatives drawn as the run draws them, and which are hidden.

    Args:
        run: with hidden items.
        examples: how many, or as many as there are.

    Raises:
        InputError: the run hides nothing.
    """
    parts = hidden_of(run)
    if parts is None:
        raise InputError(f"nothing is hidden from {run.title}; set hidden_probability")
    kept, hidden = parts
    concerned = np.flatnonzero(hidden.user_counts() > 0)
    sample = draw_sample(kept, examples=examples, num_negatives=run.num_negatives, seed=run.split_seed, users=concerned)
    # epoch 0 is no epoch of the training
    place = {"seed": run.split_seed, "place": (0, 0, 0)}
    replaced = with_false_negatives(
        sample.negatives, sample.users, Positives(hidden), run.hidden_probability or 0.0, **place
    )
    sample = Sample(sample.users, sample.positives, replaced, ~among(kept, sample.users, replaced))
    return sample, among(hidden, sample.users, replaced).numpy()


def measure_hidden(model: TrainedModel, profile: str) -> HiddenWeight:
    """How a trained model's loss weighs the hidden items among negatives drawn as in its training.

    Args:
        model: of a run of SL or DSL with hidden items.
        profile: decides how many examples are looked at.

    Raises:
        InputError: another loss, or a run without hidden items.
    """
    run = model.record.config
    sample, is_hidden = noisy_sample(run, examples=_EXAMPLES[profile])
    scores = scores_of(sample, torch.from_numpy(model.user_table), torch.from_numpy(model.item_table))
    terms = inferred(run, scores)
    margin = scores.negatives - scores.positive.unsqueeze(1)
    real = sample.real.numpy()
    hidden, others = real & is_hidden, real & ~is_hidden

    def force(temperature: torch.Tensor | float, weights: torch.Tensor | None = None) -> float:
        worst = dro.worst_case(margin.double(), temperature=temperature, weights=weights, mask=sample.real)
        return float(worst.numpy()[hidden].sum() / len(worst))

    kappa, margins, tau = terms.kappa.numpy(), margin.numpy(), terms.tau.double()
    return HiddenWeight(
        share=float((hidden.sum(axis=1) / real.sum(axis=1).clip(1)).mean()),
        kappa_hidden=float(kappa[hidden].mean()),
        kappa_others=float(kappa[others].mean()),
        force=force(tau, terms.kappa.double()),
        without_kappa=force(tau),
        margin_hidden=float(margins[hidden].mean()),
        margin_others=float(margins[others].mean()),
        force_at={temperature: force(temperature) for temperature in TEMPERATURES},
    )


@dataclass(frozen=True)
class Fall:
    """What false negatives cost a loss.

    Attributes:
        change: of the metric from probability zero, as a share, over users.
        against: the loss's change minus the reference's (positive: it keeps more); ``None`` for the reference itself.
        p_value: Holm's, over all losses and probabilities; one for the reference.
    """

    change: Interval
    against: Interval | None
    p_value: float


def falls(
    records: Mapping[str, Mapping[float, Sequence[Record]]], *, reference: str = "softmax", metric: str = "ndcg@20"
) -> dict[tuple[str, float], Fall]:
    """How much each loss loses to false negatives, and how much less than a reference: bootstrap over users.

    A user's value is her mean over the seeds; all losses and probabilities are compared on the same users.

    Args:
        records: loss -> probability -> one record for each seed; probability zero among them.
        reference: the loss whose fall the others' is compared with.
        metric: which one.

    Returns:
        (loss, probability) -> its fall, without probability zero.
    """
    values = {
        loss: {
            probability: np.mean([record.per_user(metric) for record in of_seeds], axis=0, dtype=np.float64)
            for probability, of_seeds in of_loss.items()
        }
        for loss, of_loss in records.items()
    }
    places = [(loss, probability) for loss, of_loss in values.items() for probability in of_loss if probability > 0]
    of_reference = values[reference]
    against = {
        (loss, p): difference_of_changes(values[loss][0.0], values[loss][p], of_reference[0.0], of_reference[p])
        for loss, p in places
        if loss != reference
    }
    adjusted = holm({place: interval.p_value for place, interval in against.items()})
    changes = {(loss, p): paired_bootstrap(values[loss][p], values[loss][0.0], relative=True) for loss, p in places}
    return {place: Fall(changes[place], against.get(place), adjusted.get(place, 1.0)) for place in places}


def difference_of_changes(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    other_before: NDArray[np.float64],
    other_after: NDArray[np.float64],
    *,
    samples: int = 4000,
    seed: int = 0,
) -> Interval:
    """Relative change of one mean minus that of another, ``after/before - other_after/other_before``.

    Percentile bootstrap: a user is resampled with all four values.

    Args:
        before: (n,) values per user.
        after: (n,) likewise.
        other_before: (n,) of the other loss.
        other_after: (n,) likewise.
        samples: resamples of the users.
        seed: of the resampling.
    """
    stacked = np.stack([before, after, other_before, other_after])
    rng, users = np.random.default_rng(seed), stacked.shape[1]
    means = np.stack([stacked[:, rng.integers(users, size=users)].mean(axis=1) for _ in range(samples)], axis=1)

    def difference(of: NDArray[np.float64]) -> NDArray[np.float64]:
        return of[1] / of[0] - of[3] / of[2]

    return percentile_interval(float(difference(stacked.mean(axis=1))), difference(means))
