"""Cohorts of users in ranking: what a loss does to each, and C2AL's throw-away heads beside a softmax loss.

A first experiment, small enough to read: one plain loop over the interactions, paired by construction. Runs of equal
seed have the same start, the same batches and the same negatives, whatever heads they carry. Book: "Where the two
papers meet".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, embedding, normalize

from dslstudy.c2al.method import random_stream
from dslstudy.data.interactions import Interactions
from dslstudy.engine.config import require_count, require_number, require_one_of, require_seed
from dslstudy.engine.sampler import Positives, draw_negatives, epoch_order
from dslstudy.engine.streams import torch_seed
from dslstudy.errors import InputError
from dslstudy.losses import dsl_terms, softmax_loss, unchecked
from dslstudy.metrics.significance import Interval, holm, mean_interval, paired_bootstrap
from dslstudy.models.matrix_factorization import MatrixFactorization

# Cohorts


@dataclass(frozen=True, eq=False)
class UserAxis:
    """Users in ordered bins.

    Attributes:
        name: for example "activity".
        labels: of the bins, in order.
        bins: (U,) bin of each user.
    """

    name: str
    labels: tuple[str, ...]
    bins: NDArray[np.intp]

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Label -> (U,) who is in that bin."""
        return {label: self.bins == place for place, label in enumerate(self.labels)}

    def ends(self) -> "UserPair":
        """The last bin as the head cohort, the first as the tail."""
        return UserPair(self.bins == len(self.labels) - 1, self.bins == 0)


def quantile_axis(name: str, values: ArrayLike, bins: int = 5) -> UserAxis:
    """Bins of equally many users by a statistic; users with equal values are told apart by their id.

    Args:
        name: of the axis.
        values: (U,) whole numbers, such as how many training interactions a user has.
        bins: how many.

    Raises:
        InputError: fewer than two bins, or fewer users than bins.
    """
    values = np.asarray(values)
    if not 2 <= bins <= len(values):
        raise InputError(f"axis {name} needs 2 to {len(values)} bins, one user each at least, not {bins}")
    of_user = np.empty(len(values), np.intp)
    of_user[np.argsort(values, kind="stable")] = np.arange(len(values)) * bins // len(values)
    inside = [values[of_user == place] for place in range(bins)]
    return UserAxis(name, tuple(f"{each.min():g} to {each.max():g}" for each in inside), of_user)


def edged_axis(name: str, values: ArrayLike, edges: Sequence[int]) -> UserAxis:
    """Bins between fixed edges, such as age groups; an edge begins the bin above it.

    Args:
        name: of the axis.
        values: (U,) numbers.
        edges: increasing.

    Raises:
        InputError: no edge, or edges that do not increase.
    """
    edges = list(edges)
    if not edges or any(low >= high for low, high in pairwise(edges)):
        raise InputError(f"axis {name} needs edges that increase, not {edges}")
    between = [f"{low} to {high - 1}" for low, high in pairwise(edges)]
    labels = (f"under {edges[0]}", *between, f"{edges[-1]} and over")
    return UserAxis(name, labels, np.searchsorted(edges, np.asarray(values), side="right"))


@dataclass(frozen=True, eq=False)
class UserPair:
    """Who is in the head cohort and who in the tail.

    Attributes:
        head: (U,) bool.
        tail: (U,) bool.

    Raises:
        InputError: an empty cohort, or a user in both.
    """

    head: NDArray[np.bool_]
    tail: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not (self.head.any() and self.tail.any()) or (self.head & self.tail).any():
            raise InputError("head and tail need at least one user each and may share none")


def random_user_pair(pair: UserPair, interactions: ArrayLike, *, seed: int) -> UserPair:
    """Random users in the pair's place, with as many training interactions on either side, as far as they add up.

    Args:
        pair: whose sizes are kept.
        interactions: (U,) training interactions of each user.
        seed: of the draw.
    """
    counts = np.asarray(interactions)
    order = np.random.default_rng(seed).permutation(len(counts))
    taken = np.zeros(len(counts), bool)
    sides = []
    for side in (pair.head, pair.tail):
        room, drawn = int(counts[side].sum()), np.zeros(len(counts), bool)
        for user in order[~taken[order]]:
            if counts[user] <= room:
                drawn[user] = True
                room -= int(counts[user])
        taken |= drawn
        sides.append(drawn)
    return UserPair(*sides)


# DSL's temperature by user


@dataclass(frozen=True, eq=False)
class ExampleTemperatures:
    """What DSL's competition branch says about training examples, each seen once.

    Attributes:
        users: (n,) user of each example.
        items: (n,) its positive.
        relative: (n,) ``τ_i / τ``.
        effective: (n,) temperature at which a softmax loss has the same worst case, hardness included and similarity
            not (theorem "The effective temperature" of chapter DSL); ``nan`` where there is none.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    relative: NDArray[np.float64]
    effective: NDArray[np.float64]


def example_temperatures(
    interactions: Interactions,
    user_table: NDArray,
    item_table: NDArray,
    *,
    settings: Mapping[str, float | int],
    num_negatives: int,
    batch_size: int = 1024,
    seed: int = 0,
) -> ExampleTemperatures:
    """The temperature of every training interaction under a trained model, in batches as a trainer draws them.

    Args:
        interactions: the training interactions.
        user_table: (U, d), rows of unit length.
        item_table: (I, d) likewise.
        settings: DSL's hyperparameters: ``temperature``, ``alpha``, ``beta``, ``gamma`` and ``slate_size``.
        num_negatives: sampled for each example; those that are the user's own are masked.
        batch_size: the batches have this size or a little less, all alike: a temperature is relative to its batch.
        seed: of order and negatives.
    """
    positives, tables = Positives(interactions), (torch.from_numpy(user_table), torch.from_numpy(item_table))
    order, unknown = epoch_order(len(positives), seed, 1), _unknown_items(positives)
    found = []
    for step, rows in enumerate(order.tensor_split(ceil(len(order) / batch_size))):
        users, items = positives.users[rows], positives.items[rows]
        drawn = draw_negatives(positives.num_items, (len(rows), num_negatives), seed, (1, step, 0))
        everything, likeness = tables[0][users] @ tables[1].T, tables[1][items] @ tables[1].T
        positive = everything.gather(1, items[:, None])[:, 0]
        mask = unknown[users].gather(1, drawn)
        negatives = everything.gather(1, drawn)
        terms = dsl_terms(positive, negatives, item_similarity=likeness.gather(1, drawn), mask=mask, **settings)
        count = mask.sum(1).clamp(min=1)
        centred = torch.where(mask, negatives - (negatives * mask).sum(1, keepdim=True) / count[:, None], 0.0)
        inverse = 1 / terms.tau + settings["alpha"] / (centred.square().sum(1) / count).sqrt()
        effective = torch.where(inverse > 0, 1 / inverse, torch.nan)
        found.append((users, items, terms.tau / settings["temperature"], effective))
    users, items, relative, effective = (torch.cat(column).numpy() for column in zip(*found, strict=True))
    return ExampleTemperatures(users, items, relative.astype(np.float64), effective.astype(np.float64))


def _unknown_items(positives: Positives) -> Tensor:
    """(U, I) bool, which items are no training items of a user; data of this page's size can afford it."""
    unknown = torch.ones(positives.num_users, positives.num_items, dtype=torch.bool)
    unknown.view(-1)[positives.keys] = False
    return unknown


def within_strata(values: ArrayLike, strata: ArrayLike) -> NDArray[np.float64]:
    """Values (n,) with the differences between the strata's means taken out; the overall mean stays.

    Args:
        values: (n,).
        strata: (n,) numbers from 0.
    """
    values, strata = np.asarray(values, float), np.asarray(strata)
    mean = np.bincount(strata, values) / np.maximum(np.bincount(strata), 1)
    return values - mean[strata] + values.mean()


def mean_by_user(users: ArrayLike, values: ArrayLike, num_users: int) -> NDArray[np.float64]:
    """(U,) mean value of each user's examples, ``nan`` without any."""
    total, count = np.bincount(users, values, minlength=num_users), np.bincount(users, minlength=num_users)
    with np.errstate(invalid="ignore"):
        return total / count


# Two towers with heads that are thrown away

#: ``none``: the primary loss alone. ``maps``: each cohort's softmax loss through a linear map of the user's vector.
#: ``contrastive``: the same maps, and a null item that is right for everybody outside the cohort. ``identity``: maps
#: that are fixed to the identity, which is re-weighting. ``membership``: a logistic head that says who is in a cohort.
HEADS = ("none", "maps", "contrastive", "identity", "membership")
DECAYS = ("linear", "constant")


@dataclass(frozen=True, kw_only=True)
class TwoTowerConfig:
    """One run: matrix factorization with cosines, the softmax loss, negatives that a batch shares, and heads.

    Attributes:
        heads: one of :data:`HEADS`.
        weight: λ of the heads' losses; with 0 the run is the plain one to the last bit.
        embedding_size: size d of a vector.
        temperature: τ of every softmax loss.
        num_negatives: uniformly drawn items that a batch shares; a user's own are masked.
        batch_size: examples per step.
        epochs: passes over the interactions; nothing stops earlier.
        learning_rate: Adam's step size at the start.
        decay: ``linear``: the step size falls to zero; ``constant``.
        seed: of start, order, negatives and heads, each with a stream of its own.

    Raises:
        InputError: an unknown name or a number out of range.
    """

    heads: str = "none"
    weight: float = 1.0
    embedding_size: int = 32
    temperature: float = 0.2
    num_negatives: int = 64
    batch_size: int = 1024
    epochs: int = 6
    learning_rate: float = 0.1
    decay: str = "linear"
    seed: int = 0

    def __post_init__(self) -> None:
        require_one_of("heads", self.heads, HEADS)
        require_one_of("decay", self.decay, DECAYS)
        for name in ("embedding_size", "num_negatives", "batch_size", "epochs"):
            require_count(name, getattr(self, name))
        for name in ("temperature", "learning_rate"):
            require_number(name, getattr(self, name), above=0)
        require_number("weight", self.weight, at_least=0)
        require_seed(self.seed)


@dataclass(frozen=True, eq=False)
class TwoTowers:
    """A trained run; its heads are gone.

    Attributes:
        user_table: (U, d) float32, rows of unit length.
        item_table: (I, d) float32 likewise.
        losses: mean primary loss of each epoch.
    """

    user_table: Tensor
    item_table: Tensor
    losses: list[float]


@dataclass(frozen=True, eq=False)
class _Examples:
    """A batch as its heads see it: unit vectors of its users, positives and shared negatives."""

    users: Tensor  # (B, d)
    positives: Tensor  # (B, d)
    negatives: Tensor  # (N, d)
    mask: Tensor  # (B, N)
    temperature: float

    def losses(self, vectors: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Softmax losses of some examples, scored with these unit vectors in their users' place."""
        positive = (vectors * self.positives[rows]).sum(-1)
        return softmax_loss(
            positive, vectors @ self.negatives.T, temperature=self.temperature, mask=self.mask[rows].contiguous()
        )


class _Heads(nn.Module):
    """The losses of both cohorts' heads, summed; means over the batch, so that λ is the weight of an example."""

    def __init__(self, kind: str, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kind = kind
        if kind in ("maps", "contrastive"):
            self.maps = nn.Parameter(torch.randn(2, size, size, generator=generator) / size**0.5)
        elif kind == "membership":
            self.maps = nn.Parameter(torch.randn(2, size, generator=generator) / size**0.5)
            self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, examples: _Examples, sides: Tensor) -> Tensor:
        """The heads' loss.

        Args:
            examples: the batch.
            sides: (2, B) bool, whose user is in the head cohort, whose in the tail.
        """
        if self.kind == "membership":
            logits = (examples.users @ self.maps.T + self.bias).T
            return 2 * binary_cross_entropy_with_logits(logits, sides.float())
        return sum(self._of_cohort(examples, side, inside) for side, inside in enumerate(sides))

    def _of_cohort(self, examples: _Examples, side: int, inside: Tensor) -> Tensor:
        if self.kind == "contrastive":
            vectors = normalize(examples.users @ self.maps[side], dim=-1)
            right = (vectors * examples.positives).sum(-1) / examples.temperature
            # log(e^right + Σ e^negatives): the margin's log-sum-exp, the positive put back
            everything = torch.logaddexp(examples.losses(vectors), torch.zeros_like(right)) + right
            null = torch.zeros_like(right)
            return (torch.logaddexp(everything, null) - torch.where(inside, right, null)).mean()
        rows = inside.nonzero()[:, 0]
        vectors = examples.users[rows]
        if self.kind == "maps":
            vectors = normalize(vectors @ self.maps[side], dim=-1)
        return examples.losses(vectors, rows).sum() / len(inside)


@unchecked()  # a loss that is not finite is seen at the end of its epoch
def train_two_towers(interactions: Interactions, config: TwoTowerConfig, pair: UserPair | None = None) -> TwoTowers:
    """Train one run in the plainest way.

    Start, order and negatives are those of :func:`dslstudy.engine.ranking.train` with the same seed; with a constant
    step size and without heads, so is the result, up to rounding.

    Args:
        interactions: the training interactions.
        config: of the run.
        pair: the cohorts of its heads.

    Raises:
        InputError: heads without cohorts, or a loss that is not finite.
    """
    if config.heads != "none" and pair is None:
        raise InputError(f"heads {config.heads!r} need a pair of cohorts")
    positives = Positives(interactions)
    unknown = _unknown_items(positives)
    towers = MatrixFactorization(
        num_users=positives.num_users,
        num_items=positives.num_items,
        embedding_size=config.embedding_size,
        generators=[torch.Generator().manual_seed(torch_seed(config.seed, "start"))],
    )
    heads = _Heads(config.heads, config.embedding_size, random_stream(config.seed, "heads"))
    cohorts = None if config.heads == "none" else torch.from_numpy(np.stack([pair.head, pair.tail]))
    optimizer = torch.optim.Adam([*towers.parameters(), *heads.parameters()], lr=config.learning_rate, fused=True)
    steps, step, losses = config.epochs * ceil(len(positives) / config.batch_size), 0, []
    for epoch in range(1, config.epochs + 1):
        total = 0.0
        for place, rows in enumerate(epoch_order(len(positives), config.seed, epoch).split(config.batch_size)):
            examples = _batch(positives, unknown, towers, config, rows, (epoch, place))
            primary = examples.losses(examples.users).mean()
            loss = primary
            if cohorts is not None:
                loss = primary + config.weight * heads(examples, cohorts[:, positives.users[rows]])
            if config.decay == "linear":
                optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / steps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, step = total + primary.item() * len(rows), step + 1
        losses.append(total / len(positives))
        if not np.isfinite(losses[-1]):
            raise InputError(f"the loss is not finite in epoch {epoch}; take a learning rate below its present one")
    with torch.no_grad():
        users, items = (normalize(table[0], dim=-1) for table in towers())
    return TwoTowers(users, items, losses)


def _batch(
    positives: Positives,
    unknown: Tensor,
    towers: MatrixFactorization,
    config: TwoTowerConfig,
    rows: Tensor,
    place: tuple[int, int],
) -> _Examples:
    user_table, item_table = (table[0] for table in towers())
    users, items = positives.users[rows], positives.items[rows]
    drawn = draw_negatives(positives.num_items, (config.num_negatives,), config.seed, (*place, 0))
    return _Examples(
        normalize(embedding(users, user_table), dim=-1),
        normalize(embedding(items, item_table), dim=-1),
        normalize(embedding(drawn, item_table), dim=-1),
        unknown[users[:, None], drawn],
        config.temperature,
    )


# Arms, cohort by cohort


@dataclass(frozen=True, eq=False)
class CohortDifference:
    """How far an arm is from its baseline among the users of a cohort, in the metric's own unit.

    Attributes:
        users: evaluated users of the cohort.
        baseline: the baseline's mean.
        over_users: difference of every user's mean over runs, paired bootstrap over users.
        over_runs: mean difference of the pairs of runs, t interval; ``None`` for a single pair.
        per_run: (runs,) difference of each pair of runs.
        adjusted: Holm's p-value of ``over_users`` in the family that was compared together.
    """

    users: int
    baseline: float
    over_users: Interval
    over_runs: Interval | None
    per_run: NDArray[np.float64]
    adjusted: float

    @property
    def verdict(self) -> str:
        """``higher`` or ``lower`` if users (after Holm) and runs both say so at 5 %, else ``not told apart``."""
        ends = (self.over_users.low, self.over_users.high) + (
            () if self.over_runs is None else (self.over_runs.low, self.over_runs.high)
        )
        if self.adjusted < 0.05 and all(end > 0 for end in ends):
            return "higher"
        return "lower" if self.adjusted < 0.05 and all(end < 0 for end in ends) else "not told apart"


def compare_cohorts(
    arms: Mapping[str, ArrayLike],
    baseline: ArrayLike,
    cohorts: Mapping[str, NDArray[np.bool_]],
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> dict[str, dict[str, CohortDifference]]:
    """Compare arms with a baseline, cohort by cohort; all comparisons are one family for Holm.

    Args:
        arms: name -> (runs, n) a metric of n users, runs in the baseline's order of seeds.
        baseline: (runs, n).
        cohorts: label -> (n,) which of the users.
        samples: resamples of the users.
        seed: of the bootstrap.

    Returns:
        Arm -> label -> difference.

    Raises:
        InputError: shapes that differ, or a cohort with fewer than two users.
    """
    base = np.atleast_2d(np.asarray(baseline, float))
    found: dict[str, dict[str, CohortDifference]] = {}
    for name, values in arms.items():
        values = np.atleast_2d(np.asarray(values, float))
        if values.shape != base.shape:
            raise InputError(f"{name} has shape {values.shape} and the baseline {base.shape}; pair runs and users")
        found[name] = {}
        for label, inside in cohorts.items():
            ours, theirs = values[:, inside], base[:, inside]
            if ours.shape[1] < 2:
                raise InputError(f"cohort {label} has {ours.shape[1]} evaluated users; a comparison needs two")
            over_users = paired_bootstrap(ours.mean(0), theirs.mean(0), samples=samples, seed=seed)
            per_run = (ours - theirs).mean(1)
            over_runs = mean_interval(per_run) if len(per_run) > 1 else None
            found[name][label] = CohortDifference(
                ours.shape[1], float(theirs.mean()), over_users, over_runs, per_run, np.nan
            )
    p_values = {
        (name, label): each.over_users.p_value for name, of_arm in found.items() for label, each in of_arm.items()
    }
    adjusted = holm(p_values)
    return {
        name: {label: replace(each, adjusted=adjusted[name, label]) for label, each in of_arm.items()}
        for name, of_arm in found.items()
    }
