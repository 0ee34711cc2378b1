"""What goes on inside a training run: the competition that DSL infers, the worst case it answers to, and where its
gradient points (book: Inside training).

A run is trained again, epoch by epoch, by the engine that trained it, and looked at in between. Looking changes no
bit: the validations must be those of the run's record, else nothing is kept. (Where the record was made on another
processor or a GPU, where a bit may differ anyway, they must be as near as an audit asks for.)
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from dslstudy import dro
from dslstudy.data import Split
from dslstudy.data.fetch import write_atomically
from dslstudy.data.interactions import Interactions
from dslstudy.engine.ranking import Stack, TrainedRun, training_device
from dslstudy.engine.sampler import draw_negatives
from dslstudy.engine.scores import score_tables
from dslstudy.engine.streams import place_seed, torch_seed
from dslstudy.errors import InputError
from dslstudy.losses import dsl_loss, dsl_terms, softmax_loss
from dslstudy.losses.dsl import DslTerms
from dslstudy.metrics.alignment import Direction, pull_back, smoothed_ndcg, table_cosine, tangent
from dslstudy.study.audit import same_training
from dslstudy.study.config import RunConfig
from dslstudy.study.profiles import Profile
from dslstudy.study.provenance import code_fingerprint
from dslstudy.study.store import RunStore
from dslstudy.study.study import SELECTION_METRIC, Study, evaluators, split_of

#: changes with what is measured, so that old measurements are made again
FORMAT = 2
#: of the examples, in the snapshots
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
#: longer runs are looked at in their first epochs and at their validations only
_EVERY_EPOCH, _FIRST = 20, (1, 2, 3)
#: noise of the smoothed NDCG, in the unit of cosines, and how often it is drawn (book: Does the gradient point where
#: NDCG goes?)
_NOISE, _DRAWS = 0.05, 10
_USERS = {"smoke": 40, "quick": 120, "paper": 120}
_EXAMPLES = {"smoke": 256, "quick": 1024, "paper": 1024}


@dataclass(frozen=True)
class Sample:
    """Training examples with their negatives.

    Attributes:
        users: (B,) int64.
        positives: (B,) items.
        negatives: (B, N) items.
        real: (B, N) bool: which are no training items of their user.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor
    real: Tensor


@dataclass(frozen=True)
class SampleScores:
    """What a loss gets to see of a sample under a model.

    Attributes:
        positive: (B,).
        negatives: (B, N).
        similarity: (B, N) cosines of each negative with the example's positive.
        real: (B, N) bool.
    """

    positive: Tensor
    negatives: Tensor
    similarity: Tensor
    real: Tensor


@dataclass(frozen=True)
class Snapshot:
    """A model at the end of an epoch, 0 before the first step.

    Attributes:
        epoch: which.
        loss: mean loss of the sample.
        kappa_entropy: quantiles at :data:`LEVELS` over examples: entropy of kappa / N as a share of log N.
        coupling: quantiles of the correlation, over the negatives of an example, of their margins with their
            similarity to the positive.
        intensity: quantiles of the competition intensities I_i.
        softness: rank correlation, over examples, of the temperature tau_i with the training interactions of the
            positive; ``None`` where all examples have one temperature.
        radius: quantiles of the KL divergence, in nats, of the worst-case distribution from its nominal one:
            the uniform one for SL, kappa / N for DSL.
        radius_from_uniform: quantiles of its divergence from the uniform one.
        gradient: Euclidean norms of the gradient of the mean loss with respect to the directions of ``users`` and
            ``items``.
        alignment: cosine of the angle between the step against this gradient and the gradient of smoothed NDCG@20 on
            ``training`` and ``test`` items.
    """

    epoch: int
    loss: float
    kappa_entropy: list[float]
    coupling: list[float]
    intensity: list[float]
    softness: float | None
    radius: list[float]
    radius_from_uniform: list[float]
    gradient: dict[str, float]
    alignment: dict[str, float]


@dataclass(frozen=True)
class Inside:
    """A run's snapshots.

    Attributes:
        run: its configuration.
        snapshots: in the order of epochs, the untrained model first.
    """

    run: RunConfig
    snapshots: Sequence[Snapshot]


def among(interactions: Interactions, users: Tensor, items: Tensor) -> Tensor:
    """Which items (B, N) are interactions of the users (B,); (B, N) bool."""
    wanted = users.unsqueeze(1) * interactions.num_items + items
    return torch.from_numpy(np.isin(wanted.numpy(), interactions.keys()))


def draw_sample(
    train: Interactions, *, examples: int, num_negatives: int, seed: int, users: NDArray[np.int64] | None = None
) -> Sample:
    """Training examples, each with uniform negatives; the same in every call.

    Args:
        train: the training interactions.
        examples: how many, or as many as there are.
        num_negatives: N.
        seed: decides examples and negatives.
        users: only examples of these users; all by default.

    Raises:
        InputError: these users have no training interactions.
    """
    allowed = np.arange(len(train)) if users is None else np.flatnonzero(np.isin(train.users, users))
    if not len(allowed):
        raise InputError("there are no training interactions of these users to look at")
    rows = np.random.default_rng(place_seed(seed, "noise")).permutation(allowed)[:examples]
    of_user, positives = (torch.from_numpy(part[rows].astype(np.int64)) for part in (train.users, train.items))
    # epoch 0 is no epoch of the training
    negatives = draw_negatives(train.num_items, (len(rows), num_negatives), seed, (0, 0, 0))
    return Sample(of_user, positives, negatives, ~among(train, of_user, negatives))


def scores_of(sample: Sample, user_table: Tensor, item_table: Tensor) -> SampleScores:
    """The scores of a sample under tables (U, d) and (I, d) with rows of unit length."""
    scores = user_table[sample.users] @ item_table.T
    similarity = (item_table[sample.positives] @ item_table.T).gather(1, sample.negatives)
    positive = scores.gather(1, sample.positives.unsqueeze(1)).squeeze(1)
    return SampleScores(positive, scores.gather(1, sample.negatives), similarity, sample.real)


def inferred(run: RunConfig, scores: SampleScores) -> DslTerms:
    """kappa, slate, intensity and tau_i of each example; the softmax loss has kappa one and one temperature.

    Args:
        run: of DSL or of the softmax loss.
        scores: of a sample.

    Raises:
        InputError: another loss.
    """
    settings = dict(run.loss_parameters)
    if run.loss == "softmax":
        settings |= {"alpha": 0.0, "beta": 0.0, "gamma": 0.0, "slate_size": 1}
    elif run.loss != "dsl":
        raise InputError(f"only SL and DSL are looked into, not {run.loss}")
    return dsl_terms(scores.positive, scores.negatives, item_similarity=scores.similarity, mask=scores.real, **settings)


def loss_of(run: RunConfig, scores: SampleScores) -> Tensor:
    """Mean loss of a sample, with its graph.

    Args:
        run: of DSL or of the softmax loss.
        scores: of the sample.
    """
    if run.loss == "softmax":
        losses = softmax_loss(scores.positive, scores.negatives, mask=scores.real, **run.loss_parameters)
    else:
        losses = dsl_loss(
            scores.positive,
            scores.negatives,
            item_similarity=scores.similarity.detach(),
            mask=scores.real,
            **run.loss_parameters,
        )
    return losses.mean()


def observe(study: Study, run: RunConfig) -> Inside:
    """Train a run once more, looking at it after its epochs; what was seen is kept beside the study's records.

    Args:
        study: has the run's record, or trains it.
        run: of DSL or of the softmax loss, with cosine scores and nothing hidden.

    Raises:
        InputError: another kind of run, or the training differs from that of the record.
    """
    found = kept(study, run)
    if found is not None:
        return found
    if run.loss not in ("softmax", "dsl") or run.score != "cosine" or run.hides:
        raise InputError(f"only runs of SL and DSL with cosine scores and nothing hidden are looked into: {run.title}")
    record = study.obtain([run], description="runs to look into")[0]
    split = split_of(run)
    validation, _ = evaluators(split, study.device)
    observer = _Observer(run, split, study.profile)
    trained, snapshots = TrainedRun(run), []
    with Stack(split.train, [trained], training_device(study.device), compile=study.compile) as stack:
        for epoch in range(run.epochs + 1):
            if epoch:
                stack.epoch()
            if epoch in _watched(run):
                snapshots.append(observer.look(epoch, *_tables(stack)))
            if epoch and (epoch % run.evaluate_every == 0 or epoch == run.epochs):
                stack.validate(lambda *tables: [m.mean()[SELECTION_METRIC] for m in validation.evaluate(*tables)])
            if not stack.active:
                break
    if not same_training(record, trained.history, study.device):
        raise InputError(
            f"training {run.title} again gave other validations than its record {record.key} has: train it here first,"
            " with dslstudy run --force"
        )
    content = {"format": FORMAT, "fingerprint": code_fingerprint(run), "snapshots": [*map(asdict, snapshots)]}
    write_atomically(_path(study.store, run), (json.dumps(content) + "\n").encode())
    return Inside(run, snapshots)


def kept(study: Study, run: RunConfig) -> Inside | None:
    """What was seen of a run, by the code as it is now; ``None`` if nothing was."""
    for store in (study.store, study.committed):
        path = _path(store, run)
        if path.exists():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                if (content["format"], content["fingerprint"]) == (FORMAT, code_fingerprint(run)):
                    return Inside(run, [Snapshot(**each) for each in content["snapshots"]])
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{path} is damaged ({error}); delete it and run again") from error
    return None


def curve(seen: Inside, name: str, *, part: str | int | None = None) -> NDArray[np.float64]:
    """One number of each snapshot, shape (snapshots,).

    Args:
        seen: a run's snapshots.
        name: an attribute of :class:`Snapshot`.
        part: which of its parts: a key, or a place among :data:`LEVELS`.
    """
    values = [getattr(each, name) for each in seen.snapshots]
    return np.array(values if part is None else [value[part] for value in values], dtype=np.float64)


def curves(runs: Sequence[Inside], name: str, part: str | int | None = None) -> NDArray[np.float64]:
    """A number of each snapshot of each run, shape (runs, snapshots); runs that stopped early are cut to the shortest.

    Args:
        runs: of one loss.
        name: an attribute of a snapshot.
        part: which of its parts.
    """
    values = [curve(run, name, part=part) for run in runs]
    length = min(map(len, values))
    return np.stack([value[:length] for value in values])


class _Observer:
    """The sample, and what is measured on it."""

    def __init__(self, run: RunConfig, split: Split, profile: Profile) -> None:
        self.run, rng = run, np.random.default_rng(place_seed(run.split_seed, "noise", 1))
        # users of whom both metrics can be asked
        able = np.flatnonzero((split.train.user_counts() > 0) & (split.test.user_counts() > 0))
        chosen = np.sort(rng.permutation(able)[: _USERS[profile.name]])
        self.users = torch.from_numpy(chosen.astype(np.int64))
        sample = draw_sample(
            split.train,
            examples=_EXAMPLES[profile.name],
            num_negatives=run.num_negatives,
            seed=run.split_seed,
            users=chosen,
        )
        # users by their place among the chosen ones: the other rows of the table play no part
        self.sample = Sample(
            torch.searchsorted(self.users, sample.users), sample.positives, sample.negatives, sample.real
        )
        train, validation, test = (
            torch.from_numpy(part.csr()[chosen].toarray() > 0) for part in (split.train, split.validation, split.test)
        )
        self.popularity = split.train.item_counts()[sample.positives.numpy()]
        self.targets = {
            "training": {"relevant": train},
            "test": {"relevant": test, "candidates": ~(train | validation)},
        }

    def look(self, epoch: int, user_table: Tensor, item_table: Tensor) -> Snapshot:
        """Measure a model with tables (U, d) and (I, d)."""
        tables = [table.clone().requires_grad_() for table in (user_table[self.users], item_table)]
        scores = scores_of(self.sample, *tables)
        loss = loss_of(self.run, scores)
        gradient = tangent(*torch.autograd.grad(loss, tables), *(table.detach() for table in tables))
        users, items = (table.detach() for table in tables)
        terms = inferred(self.run, scores)
        margins = (scores.negatives - scores.positive.unsqueeze(1)).detach().double()
        game = {"temperature": terms.tau.double(), "mask": scores.real}
        weights = terms.kappa.double()
        worst = dro.worst_case(margins, weights=weights, **game)
        log_count = scores.real.sum(1).double().log()
        return Snapshot(
            epoch,
            float(loss.detach()),
            _quantiles(entropy(weights / weights.sum(1, keepdim=True)) / log_count),
            _quantiles(correlation(margins, scores.similarity.detach().double(), scores.real)),
            _quantiles(terms.intensity),
            self._softness(terms.tau),
            _quantiles(dro.radius_of_temperature(margins, weights=weights, **game)),
            _quantiles(log_count - entropy(worst)),
            {"users": float(gradient.users.norm()), "items": float(gradient.items.norm())},
            self._alignment(epoch, Direction(-gradient.users, -gradient.items), users, items),
        )

    def _softness(self, tau: Tensor) -> float | None:
        if (tau == tau[0]).all() or (self.popularity == self.popularity[0]).all():
            return None
        return float(spearmanr(tau.numpy(), self.popularity).statistic)

    def _alignment(self, epoch: int, direction: Direction, users: Tensor, items: Tensor) -> dict[str, float]:
        # the same noise for every run: differences between losses owe nothing to it
        noise = torch.Generator().manual_seed(torch_seed(self.run.split_seed, "noise", 0, epoch))
        found = {}
        for name, target in self.targets.items():
            metric = smoothed_ndcg(users @ items.T, noise=_NOISE, draws=_DRAWS, generator=noise, **target)
            found[name] = table_cosine(direction, pull_back(metric.gradient, users, items))
        return found


def correlation(one: Tensor, other: Tensor, real: Tensor) -> Tensor:
    """Correlation of two numbers of the negatives, (B, N) each, within every example, over its ``real`` ones: (B,)."""
    count = real.sum(1, keepdim=True)
    centred = [(values - values.where(real, 0).sum(1, keepdim=True) / count).where(real, 0) for values in (one, other)]
    return torch.nn.functional.cosine_similarity(*centred, dim=1)


def entropy(distribution: Tensor) -> Tensor:
    """Entropy in nats of distributions (..., N); nothing is added where a probability is zero."""
    return torch.special.entr(distribution).sum(-1)


@torch.no_grad()
def _tables(stack: Stack) -> list[Tensor]:
    """The score tables (U, d) and (I, d) of a stack of one run, as they are now; on the CPU."""
    return [table[0].cpu() for table in score_tables(*stack.backbone.inference_tables(), stack.shared.score)]


def _quantiles(values: Tensor) -> list[float]:
    values = values.detach().double()
    return [float(value) for value in torch.quantile(values, torch.tensor(LEVELS, dtype=torch.float64))]


def _watched(run: RunConfig) -> set[int]:
    if run.epochs <= _EVERY_EPOCH:
        return set(range(run.epochs + 1))
    return {0, *_FIRST, *range(run.evaluate_every, run.epochs + 1, run.evaluate_every), run.epochs}


def _path(store: RunStore, run: RunConfig) -> Path:
    return store.root / "inside" / f"{run.key}.inside"
