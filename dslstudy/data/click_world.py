"""Click logs drawn from a world whose truth is known: cohorts, their own interactions, and the best possible predictor.

A row has a user, who by her value belongs to the head, the tail or the rest, and categorical fields with Zipf
frequencies. Its logit is a common part (main effects and pairwise interactions of the fields) plus, for head and tail,
pairwise interactions of the cohort's own, whose strength is the dial ``contrast``. The book turns the dials in the
chapter *Why one objective forgets minorities*.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from dslstudy.data.click_columns import cut_axis
from dslstudy.data.click_logs import PARTS, Axis, ClickLog, ClickSplit, Feature
from dslstudy.data.click_spec import AxisSpec
from dslstudy.data.click_truth import COHORTS, ClickRows, ClickTruth
from dslstudy.data.splits import content_hash, generator
from dslstudy.errors import InputError

#: Rows drawn at a time; part of the definition of a world, since every block has a random stream of its own.
BLOCK = 16_384
#: Rows on which logits are standardised and base rates met.
_CALIBRATION = 65_536


@dataclass(frozen=True, kw_only=True)
class ClickWorld:
    """A world by its dials; two equal ones draw the same rows.

    Attributes:
        rows: rows of a split (a stream may be longer or shorter).
        world_seed: draws effects, interactions and who belongs to which cohort.
        contrast: standard deviation, in logits, of the interactions that head and tail have of their own.
        relation: "opposite": what raises the logit in the head lowers it in the tail; "independent": unrelated.
        head_share: share of the head, the users of most value ...
        tail_share: ... and of the tail, those of least; the rest has the common part alone.
        share_of: the shares are of "rows" (expected) or of "users".
        noise: with this probability a label ignores the features and follows the cohort's base rate.
        visibility: "feature": one feature says the cohort; "id": the user is a feature, and so is her cohort in
            principle; "hidden": neither.
        base_rate: share of positives, of every cohort without a rate of its own.
        head_rate: the head's, or None.
        tail_rate: the tail's, or None.
        fields: number of categorical fields.
        field_size: ids of each field, one number for all or a tuple of one for each.
        rank: length of the factor vectors behind pairwise interactions; the longer, the harder they are to learn.
        zipf: exponent of the field frequencies; 0 for uniform.
        main: standard deviation of the common main effects, in logits.
        common: standard deviation of the common pairwise interactions, in logits.
        users: number of users.
        user_zipf: exponent of the users' activity; 0 for equally active ones.

    Raises:
        InputError: a dial outside its range; the message names it.
    """

    rows: int = 200_000
    world_seed: int = 0
    contrast: float = 1.0
    relation: str = "opposite"
    head_share: float = 0.2
    tail_share: float = 0.2
    share_of: str = "rows"
    noise: float = 0.0
    visibility: str = "feature"
    base_rate: float = 0.2
    head_rate: float | None = None
    tail_rate: float | None = None
    fields: int = 6
    field_size: int | tuple[int, ...] = 20
    rank: int = 1
    zipf: float = 1.0
    main: float = 0.7
    common: float = 0.7
    users: int = 2000
    user_zipf: float = 0.5

    def __post_init__(self) -> None:
        """Check every dial."""
        for name, allowed in (
            ("relation", ("opposite", "independent")),
            ("share_of", ("rows", "users")),
            ("visibility", ("feature", "id", "hidden")),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for name, least in (("rows", 10), ("world_seed", 0), ("fields", 2), ("rank", 1), ("users", 3)):
            if not _is_integer(getattr(self, name), least):
                raise InputError(f"{name} is an integer from {least}, not {getattr(self, name)!r}")
        sizes = self.field_size
        if not isinstance(sizes, int):
            object.__setattr__(self, "field_size", tuple(sizes))
        if len(self._field_sizes) != self.fields or not all(_is_integer(size, 2) for size in self._field_sizes):
            raise InputError(f"field_size is an integer from 2, or one for each of {self.fields} fields, not {sizes!r}")
        for name in ("contrast", "zipf", "main", "common", "user_zipf"):
            if not (_is_number(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"{name} is a number from 0, not {getattr(self, name)!r}")
        if not (_is_number(self.noise) and 0 <= self.noise <= 1):
            raise InputError(f"noise is a probability, not {self.noise!r}")
        for name in ("base_rate", "head_rate", "tail_rate", "head_share", "tail_share"):
            value = getattr(self, name)
            if not ((value is None and name in ("head_rate", "tail_rate")) or (_is_number(value) and 0 < value < 1)):
                raise InputError(f"{name} lies between 0 and 1, not {value!r}")
        if self.head_share + self.tail_share > 1:
            raise InputError("head_share and tail_share must be at most 1 together")

    # The world

    @cached_property
    def value_of_user(self) -> NDArray[np.float64]:
        """Value of each user, float64 (users,): the share of rows (or users) that belongs to users of less value.

        Users stand in random order of value, each in the middle of her own share, so the values lie between 0 and 1.
        """
        order = generator(self.world_seed, "click-cohorts").permutation(self.users)
        share = self._activity[order] if self.share_of == "rows" else np.full(self.users, 1 / self.users)
        value = np.empty(self.users)
        value[order] = np.cumsum(share) - share / 2
        return value

    @cached_property
    def cohort_of_user(self) -> NDArray[np.int8]:
        """Number of the cohort of each user, int8 (users,): head at the top of the value, tail at its bottom.

        Each of the two has at least one user.
        """
        value = self.value_of_user
        cohorts = np.zeros(self.users, np.int8)
        cohorts[value > min(1 - self.head_share, np.sort(value)[-2])] = 1
        cohorts[value < max(self.tail_share, np.sort(value)[1])] = 2
        return cohorts

    @property
    def cohort_weights(self) -> Mapping[str, float]:
        """Expected share of the rows of each cohort, by name."""
        weights = np.bincount(self.cohort_of_user, weights=self._activity, minlength=len(COHORTS))
        return MappingProxyType(dict(zip(COHORTS, weights.tolist(), strict=True)))

    @property
    def cohort_rates(self) -> NDArray[np.float64]:
        """Base rate of each cohort, in the order of :data:`dslstudy.data.click_truth.COHORTS`."""
        rates = (None, self.head_rate, self.tail_rate)
        return np.array([self.base_rate if rate is None else rate for rate in rates])

    def conditionals(self, fields: NDArray[np.int32]) -> NDArray[np.float64]:
        """P(label = 1 | fields, cohort) for every cohort, float64 (n, 3).

        Args:
            fields: ids of the fields, from 1, int32 (n, number of fields).
        """
        scores = self._scores(fields)
        probabilities = expit(scores + self._intercepts)
        return (1 - self.noise) * probabilities + self.noise * self.cohort_rates

    @cached_property
    def _activity(self) -> NDArray[np.float64]:
        weights = np.arange(1, self.users + 1) ** -float(self.user_zipf)
        return weights / weights.sum()

    @cached_property
    def _effects(self) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Main effects (fields, size); factors (fields, size, rank) of common, head's and tail's interactions."""
        rng = generator(self.world_seed, "click-effects")
        shape = (self.fields, max(self._field_sizes))
        return rng.standard_normal(shape), *(rng.standard_normal((*shape, self.rank)) for _ in range(3))

    @cached_property
    def _tables(self) -> tuple[NDArray[np.float64], ...]:
        """Per field (size, 1 + 3 * rank + 3): main effect, three factors, the squared lengths of the factors."""
        main, *factors = self._effects
        lengths = [(one**2).sum(axis=2, keepdims=True) for one in factors]
        return tuple(np.concatenate([main[:, :, None], *factors, *lengths], axis=2))

    def _raw(self, fields: NDArray[np.int32]) -> NDArray[np.float64]:
        """Main effects and the three kinds of pairwise interactions before any scaling, (n, 4)."""
        total = np.zeros((len(fields), self._tables[0].shape[1]))
        for table, ids in zip(self._tables, fields.T, strict=True):
            total += table.take(ids - 1, axis=0)
        sums = total[:, 1:-3].reshape(-1, 3, self.rank)
        # the sum over pairs of inner products, as a factorization machine computes it
        pairs = 0.5 * (np.einsum("nkr,nkr->nk", sums, sums) - total[:, -3:])
        return np.concatenate([total[:, :1], pairs], axis=1)

    @cached_property
    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the raw columns, and their values on the rows they were measured on."""
        rng = generator(self.world_seed, "click-calibration")
        raw = self._raw(self._draw_fields(rng, _CALIBRATION))
        spread = raw.std(axis=0)
        return raw.mean(axis=0), np.where(spread > 0, spread, 1.0), raw

    def _mixed(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logits without intercept of the three cohorts (n, 3) from raw columns (n, 4)."""
        mean, spread, _ = self._scale
        main, common, first, second = ((raw - mean) / spread).T
        shared = self.main * main + self.common * common
        other = -first if self.relation == "opposite" else second
        return np.stack([shared, shared + self.contrast * first, shared + self.contrast * other], axis=1)

    def _scores(self, fields: NDArray[np.int32]) -> NDArray[np.float64]:
        return self._mixed(self._raw(fields))

    @cached_property
    def _intercepts(self) -> NDArray[np.float64]:
        """One per cohort, so that its base rate is met on the calibration rows."""
        scores = self._mixed(self._scale[2])
        return np.array(
            [
                brentq(lambda shift, own=own, rate=rate: expit(own + shift).mean() - rate, -100, 100)
                for own, rate in zip(scores.T, self.cohort_rates, strict=True)
            ]
        )

    # Rows

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features a model sees, in order."""
        names = tuple(f"field {number}" for number in range(1, self.fields + 1))
        return names + {"feature": ("cohort",), "id": ("user",), "hidden": ()}[self.visibility]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of ids of each feature; id 0 is never drawn."""
        extra = {"feature": (len(COHORTS) + 1,), "id": (self.users + 1,), "hidden": ()}[self.visibility]
        return tuple(size + 1 for size in self._field_sizes) + extra

    def stream(self, chunk: int = BLOCK, *, seed: int = 0, rows: int | None = None) -> Iterator[ClickRows]:
        """Draw rows, a chunk at a time, in constant memory; the rows do not depend on the size of the chunks.

        Args:
            chunk: rows at a time; the last chunk may be shorter.
            seed: of the rows; the world stays the same.
            rows: how many in all, the dial ``rows`` if None.

        Raises:
            InputError: a chunk or a number of rows below one.
        """
        total = self.rows if rows is None else rows
        if chunk < 1 or total < 1:
            raise InputError(f"a stream needs at least one row and chunks of at least one, not {total} and {chunk}")
        return self._chunks(chunk, seed, total)

    def _chunks(self, chunk: int, seed: int, total: int) -> Iterator[ClickRows]:
        waiting: list[ClickRows] = []
        held = 0
        for number in range(-(-total // BLOCK)):
            block = self._block(seed, number)[: total - number * BLOCK]
            waiting.append(block)
            held += len(block)
            while held >= chunk:
                ready = ClickRows.joined(waiting) if len(waiting) > 1 else waiting[0]
                yield ready[:chunk]
                waiting, held = [ready[chunk:]], held - chunk
        if held:
            yield ClickRows.joined(waiting)

    def _block(self, seed: int, number: int) -> ClickRows:
        entropy = generator(seed, "click-rows").bit_generator.seed_seq.entropy
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*entropy, self.world_seed, number])))
        fields = self._draw_fields(rng, BLOCK)
        users = np.searchsorted(np.cumsum(self._activity)[:-1], rng.random(BLOCK), side="right").astype(np.int32)
        cohorts = self.cohort_of_user[users]
        conditionals = self.conditionals(fields)
        own = conditionals[np.arange(BLOCK), cohorts]
        labels = (rng.random(BLOCK) < own).astype(np.uint8)
        blind = conditionals @ np.fromiter(self.cohort_weights.values(), float)
        seen = blind if self.visibility == "hidden" else own
        extra = {"feature": [cohorts.astype(np.int32)[:, None] + 1], "id": [users[:, None] + 1], "hidden": []}
        return ClickRows(labels, np.hstack([fields, *extra[self.visibility]]), users, cohorts, seen, blind)

    def _draw_fields(self, rng: np.random.Generator, rows: int) -> NDArray[np.int32]:
        """Draw ids from 1, in every field with frequencies ``rank ** -zipf``, int32 (rows, fields)."""
        ids = np.empty((rows, self.fields), np.int32)
        for place, size in enumerate(self._field_sizes):
            weights = np.arange(1, size + 1) ** -float(self.zipf)
            edges = np.cumsum(weights / weights.sum())[:-1]
            ids[:, place] = 1 + np.searchsorted(edges, rng.random(rows), side="right")
        return ids

    @property
    def _field_sizes(self) -> tuple[int, ...]:
        return (self.field_size,) * self.fields if isinstance(self.field_size, int) else self.field_size

    # Splits

    def split(self, seed: int = 0) -> ClickSplit:
        """Draw ``rows`` rows and cut them 70/10/20 in the order they came (they are independent).

        The axes, all over users, are "cohort" (the truth, also where the features hide it), "value" (twenty bins of
        five percent each; head and tail lie at its ends) and "activity" (deciles of the number of training rows, which
        has nothing to do with the cohorts).

        Args:
            seed: of the rows.
        """
        drawn = ClickRows.joined(list(self.stream(seed=seed)))
        log = self._log(drawn)
        places = np.split(np.arange(self.rows), [round(0.7 * self.rows), round(0.8 * self.rows)])
        train = np.zeros(self.rows, bool)
        train[places[0]] = True
        twentieth = np.minimum((20 * self.value_of_user[drawn.users]).astype(np.int16), 19)
        activity = AxisSpec(name="activity", unit="user", count="user", quantiles=10)
        cut = {
            "cohort": (drawn.cohorts, COHORTS),
            "value": (twentieth, tuple(f"{low} to {low + 5} %" for low in range(0, 100, 5))),
            "activity": cut_axis(log, train, activity),
        }
        axes = {
            name: Axis(name, "user", labels, *(bins[place] for place in places)) for name, (bins, labels) in cut.items()
        }

        def by_part(values: NDArray) -> Mapping[str, NDArray]:
            return MappingProxyType({name: values[place] for name, place in zip(PARTS, places, strict=True)})

        truth = ClickTruth(
            self,
            by_part(drawn.probabilities),
            by_part(drawn.blind),
            by_part(drawn.cohorts),
            self.cohort_weights,
            by_part(drawn.labels),
        )
        digest = content_hash(drawn.labels, drawn.fields, drawn.users)
        return ClickSplit(
            "drawn",
            *(log.select(place) for place in places),
            axes,
            seed,
            "synthetic-clicks",
            MappingProxyType({"synthetic-clicks": digest}),
            truth,
        )

    def _log(self, rows: ClickRows) -> ClickLog:
        features = [
            Feature(name, size, rows.fields[:, place])
            for place, (name, size) in enumerate(zip(self.feature_names, self.sizes, strict=True))
        ]
        return ClickLog(rows.labels, tuple(features), rows.users)


def _is_integer(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
