"""The click runs behind the book's tables and figures, each written down once.

An *arm* is one way of training with a configuration per pair: equal places in two arms share seed, world and rows. The
baseline ``plain`` is one arm whatever it is compared with, so experiments share its runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dslstudy.errors import InputError
from dslstudy.study.click_comparison import ClickComparison, compare_clicks
from dslstudy.study.click_config import ClickRunConfig
from dslstudy.study.profiles import PROFILES, Profile
from dslstudy.study.store import Record
from dslstudy.study.study import Study

#: weight of both auxiliary heads where nothing else is said, the same as the click's own; sweeps turn it
WEIGHT = 1.0
#: the same of heads that predict membership alone: an easy label, which they learn from little
MEMBERSHIP_WEIGHT = 0.1
#: the null arm: heads so light that what they change is chance (with 0 a run is the plain one to the last bit)
NULL = 0.001
#: weights of the sweep
WEIGHTS = (NULL, 0.03, 0.1, 0.3, 1.0, 3.0)
#: pairs of random cohorts
RANDOM_PAIRS = (0, 1, 2)
#: learning rates of the sweep that is run for every arm alike, as multiples of the place's own
RATE_FACTORS = (0.5, 1.0, 2.0)
#: lengths of training whose sweep shows what the baseline's training is worth, as multiples of the place's own
EPOCH_FACTORS = (0.25, 1.0)
#: rivals that the pages show from committed records alone: they take twice the time of a run, or repeat another's idea
AWAY = ("oversampling", "multi_cohort", "mmoe", "ple", "pcgrad")
#: seeds of whatever stands beside the headline (sweeps, turned dials, rivals); the headline has all
SIDE_SEEDS = 3

#: cohorts of a tenth of the rows together, as small as the paper's example, in a world
SMALL_COHORTS = {"head_share": 0.05, "tail_share": 0.05}
#: base rates by which the two cohorts differ, too
UNEQUAL_RATES = {"head_rate": 0.25, "tail_rate": 0.05}

_TINY: dict[str, Any] = {"batch_size": 256, "epochs": 1, "embedding_size": 4, "hidden": 8}
_TINY_WORLD = {"rows": 6000, "users": 200, "fields": 3, "field_size": 10}

# Chosen for the plain arm on the validation rows of two worlds of 200,000 rows. Mean log loss there (the truth: 0.3893)
# with a step size of 0.01: 0.3964 after three epochs, 0.3960 after four, 0.3958 after six. None of 23 settings (step
# sizes 0.006 to 0.03, three to six epochs, batches of 256 to 2048, weight decay 0 to 0.001; most of them in the first
# world only) was better than 0.02 with six epochs, 0.3956: three come within a fifth of a per cent, in half the time.
# With less weight decay it was worse. Eight epochs take off another half per cent, in the first world: more than the
# book can afford at quick, and the chapter "Does it help?" shows what it means.
_WORLD: dict[str, Any] = {"learning_rate": 0.01, "epochs": 3, "weight_decay": 1e-3}
# Six times the rows in two passes instead of three: four times the steps.
_LARGE_WORLD: dict[str, Any] = _WORLD | {"epochs": 2}
# Chosen for the plain arm on validation rows: more epochs, or no weight decay, and the users' embeddings overfit.
_PUBLIC: dict[str, Any] = {"learning_rate": 0.01, "epochs": 2, "weight_decay": 1e-3}
# Chosen for the plain arm on the validation rows of two seeds: mean log loss 0.2252 with 0.003, 0.2261 with 0.01. With
# the larger one some runs of arms with heads end hardly better than the base rate.
_MERCHANTS: dict[str, Any] = _PUBLIC | {"learning_rate": 0.003}


@dataclass(frozen=True)
class Place:
    """Data and cohorts on which arms are compared.

    Attributes:
        name: in text.
        dataset: of the registry.
        parameters: of the data set.
        cohorts: axis and pair, fields of :class:`~dslstudy.study.click_config.ClickRunConfig`.
        training: sizes and step sizes, likewise.
        worlds: draw another world for every seed.
    """

    name: str
    dataset: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cohorts: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    worlds: bool = False

    def run(self, method: str = "plain", seed: int = 0, **changes: Any) -> ClickRunConfig:
        """One run here.

        Args:
            method: the training method, e.g. ``c2al``.
            seed: of the run, and of the world where there is one for every seed.
            changes: other fields of the run; ``weight`` gives both heads this weight.
        """
        parameters = dict(self.parameters) | changes.pop("dataset_parameters", {})
        own_world = {"world_seed": seed} if self.worlds else {}
        settings = changes.pop("method_parameters", {})
        if "weight" in changes:
            weight = float(changes.pop("weight"))
            settings = {"lambda_head": weight, "lambda_tail": weight} | settings
        return ClickRunConfig(
            dataset=self.dataset,
            dataset_parameters=parameters | own_world,
            split_seed=seed if self.worlds else 0,
            method=method,
            method_parameters=settings,
            seed=seed,
            **dict(self.cohorts) | dict(self.training) | changes,
        )

    def arm(self, profile: Profile, method: str = "plain", **changes: Any) -> list[ClickRunConfig]:
        """The same with all seeds of a profile."""
        return [self.run(method, seed, **changes) for seed in profile.seeds]


Arms = dict[str, list[ClickRunConfig]]


def aside(profile: Profile) -> Profile:
    """The profile with the seeds of what stands beside the headline: the first three."""
    return replace(profile, seeds=profile.seeds[:SIDE_SEEDS])


def obtain_arms(
    study: Study, arms: Mapping[Any, Sequence[ClickRunConfig]], *, description: str = "runs"
) -> dict[Any, list[Record]]:
    """The records of arms, trained world by world, so that each world is drawn once.

    Args:
        study: where the runs are kept, and trained if they are missing.
        arms: label -> configurations.
        description: the progress bar's title.

    Returns:
        The same labels, with records in the order of the configurations.

    Raises:
        InputError: as :meth:`~dslstudy.study.study.Study.obtain`.
    """
    worlds: dict[tuple[Any, ...], list[ClickRunConfig]] = {}
    for config in [config for of_arm in arms.values() for config in of_arm]:
        worlds.setdefault(config.data_key, []).append(config)
    in_turn = [config for of_world in worlds.values() for config in of_world]
    found = {record.key: record for record in study.obtain(in_turn, description=description)}
    return {label: [found[config.key] for config in of_arm] for label, of_arm in arms.items()}


def selected(arms: Mapping[Any, Sequence[Record]]) -> Any:
    """The arm whose mean cross-entropy on validation rows is lowest; test rows have no say.

    Args:
        arms: label -> records, of the same seeds and worlds for all.

    Raises:
        InputError: no arms, or arms of different seeds or data.
    """
    runs = {tuple((record.config.seed, record.data["fingerprint"]) for record in of_arm) for of_arm in arms.values()}
    if len(runs) != 1:
        raise InputError("a selection is among arms of the same seeds and data")
    return min(arms, key=lambda label: np.mean([record.validation["log_loss"] for record in arms[label]]))


def world(profile: Profile, **dials: Any) -> Place:
    """The controlled world with strong contrast, or another one by its dials.

    Args:
        profile: decides its size.
        dials: of :class:`~dslstudy.data.click_world.ClickWorld`.
    """
    rows = {"smoke": _TINY_WORLD, "quick": {"rows": 200_000}, "paper": {"rows": 1_200_000}}[profile.name]
    return Place(
        "controlled world",
        "synthetic-clicks",
        {"contrast": 2.0, **rows, **dials},
        {"axis": "cohort", "pair": "labels", "head": "head", "tail": "tail"},
        {"smoke": _TINY, "quick": _WORLD, "paper": _LARGE_WORLD}[profile.name],
        worlds=True,
    )


def public(profile: Profile, axis: str = "popularity", bins: int = 3) -> Place:
    """MovieLens-100K; at profile smoke a small world stands in its place, cut by activity.

    Args:
        profile: decides the data.
        axis: ``age``, ``activity``, ``popularity`` or ``film year``.
        bins: bins on either side.
    """
    if profile.name == "smoke":
        cohorts = {"axis": "activity", "bins": min(bins, 5)}
        return Place("small world", "synthetic-clicks", _TINY_WORLD, cohorts, _TINY)
    return Place("MovieLens-100K", "movielens-100k", {}, {"axis": axis, "bins": bins}, _PUBLIC)


def merchants(axis: str = "merchant size", bins: int = 3) -> Place:
    """Tmall repeat buyers; trained at profile paper only.

    Args:
        axis: ``merchant size``, ``activity`` or ``visit length``.
        bins: bins on either side.
    """
    return Place("Tmall", "tmall", {}, {"axis": axis, "bins": bins}, _MERCHANTS)


def headline(profile: Profile, place: Place) -> Arms:
    """Plain, C2AL, the null arm, a head that knows membership alone, and random pairs of the same size and unit."""
    return {
        "plain": place.arm(profile),
        "c2al": place.arm(profile, "c2al", weight=WEIGHT),
        "null": place.arm(profile, "c2al", weight=NULL),
        "membership": place.arm(profile, "membership", weight=MEMBERSHIP_WEIGHT),
        "random_pair": _random_pair(profile, place),
    }


def world_grid() -> dict[str, Arms]:
    """Worlds of 200,000 rows with one dial turned at a time, outside the book's pages; what is turned -> arms."""
    dials: dict[str, dict[str, Any]] = {
        "no contrast": {"contrast": 0.0},
        "contrast 4": {"contrast": 4.0},
        "cohorts of 5 %": SMALL_COHORTS,
        "tail 5 %, head 75 %": {"tail_share": 0.05, "head_share": 0.75},
        "cohort in the user's id": {"visibility": "id"},
        "cohort hidden": {"visibility": "hidden"},
        "unequal base rates": UNEQUAL_RATES,
        "a fifth of the labels noise": {"noise": 0.2},
        "unrelated instead of opposite cohorts": {"relation": "independent"},
    }
    few, grid = aside(PROFILES["quick"]), {}
    for name, turned in dials.items():
        place = world(PROFILES["quick"], **turned)
        membership = place.arm(few, "membership", weight=MEMBERSHIP_WEIGHT)
        grid[name] = _plain_and_c2al(few, place) | {"membership": membership}
    return grid


def _plain_and_c2al(profile: Profile, place: Place, **changes: Any) -> Arms:
    return {
        "plain": place.arm(profile, **changes),
        "c2al": place.arm(profile, "c2al", weight=WEIGHT, **changes),
    }


def _random_pair(profile: Profile, place: Place, number: int = RANDOM_PAIRS[0], **changes: Any) -> list[ClickRunConfig]:
    return place.arm(profile, "c2al", weight=WEIGHT, random_pair_seed=number, **changes)


def _plain_c2al_and_chance(profile: Profile, place: Place, **changes: Any) -> Arms:
    return _plain_and_c2al(profile, place, **changes) | {"random_pair": _random_pair(profile, place, **changes)}


def contrast_by_share(profile: Profile) -> dict[tuple[float, float], list[ClickRunConfig]]:
    """Controlled worlds by contrast and share of the head; the tail keeps a fifth.

    Args:
        profile: decides how many worlds.

    Returns:
        (contrast, share of the head) -> the plain arm; all the headline's seeds for the headline's world, first.
    """
    settings = [(2.0, 0.2), (0.0, 0.2), (4.0, 0.2), (2.0, 0.75), (0.0, 0.75)]
    if profile.name == "smoke":
        settings.remove((4.0, 0.2))
    if profile.name == "paper":
        settings += [(1.0, 0.2), (2.0, 0.5)]
    return {
        (contrast, share): world(profile, contrast=contrast, head_share=share).arm(
            profile if (contrast, share) == (2.0, 0.2) else aside(profile)
        )
        for contrast, share in settings
    }


def training_sweep(profile: Profile, place: Place) -> dict[int, Arms]:
    """Epochs -> plain, C2AL and a random pair, up to the place's own number: what a gain owes to a short training."""
    own = place.run().epochs
    lengths = sorted({max(1, round(factor * own)) for factor in EPOCH_FACTORS})
    return {epochs: _plain_c2al_and_chance(aside(profile), place, epochs=epochs) for epochs in lengths}


def baseline_check(profile: Profile, place: Place) -> dict[tuple[float, int], list[ClickRunConfig]]:
    """(learning rate, epochs) -> one plain run: around the place's own, and twice as long; for a look at validation.

    Args:
        profile: decides the seed, its first.
        place: where.
    """
    first = replace(profile, seeds=profile.seeds[:1])
    own = place.run()
    settings = [(factor * own.learning_rate, own.epochs) for factor in RATE_FACTORS]
    settings.append((own.learning_rate, 2 * own.epochs))
    return {(rate, epochs): place.arm(first, learning_rate=rate, epochs=epochs) for rate, epochs in settings}


def weight_sweep(
    profile: Profile, place: Place, method: str = "c2al"
) -> tuple[list[ClickRunConfig], dict[float, list[ClickRunConfig]]]:
    """The plain arm, and weight of both heads -> arm.

    Args:
        profile: decides the seeds and how many weights.
        place: where.
        method: ``c2al`` or ``membership``, each tuned on validation by itself.
    """
    profile = aside(profile)
    weights = {"smoke": (NULL, 0.3), "quick": (NULL, 0.1, 1.0)}.get(profile.name, WEIGHTS)
    if method != "c2al":
        weights = tuple(weight for weight in weights if weight != NULL)  # one null arm is enough
    return place.arm(profile), {weight: place.arm(profile, method, weight=weight) for weight in weights}


def share_sweep(profile: Profile, axis: str = "popularity") -> dict[int, list[ClickRunConfig]]:
    """Bins on either side of an axis of the public data -> C2AL's arm: one, three, five tenths; two at paper, too."""
    bins = {"smoke": (1, 3), "quick": (1, 3, 5)}.get(profile.name, (1, 2, 3, 5))
    seeds = aside(profile)
    return {number: public(profile, axis, number).arm(seeds, "c2al", weight=WEIGHT) for number in bins}


def random_pairs(profile: Profile, place: Place) -> dict[int, list[ClickRunConfig]]:
    """Seed of a random pair -> C2AL's arm with it."""
    profile = aside(profile)
    return {
        number: _random_pair(profile, place, number)
        for number in (RANDOM_PAIRS[:1] if profile.name == "smoke" or place.worlds else RANDOM_PAIRS)
    }


def rivals(profile: Profile, place: Place) -> Arms:
    """C2AL and the obvious alternatives with the same budget, all with both heads' weight where they have heads.

    At quick without those of :data:`AWAY`.
    """
    short = profile.name == "quick"
    profile = aside(profile)
    pair = {"lambda_head": WEIGHT, "lambda_tail": WEIGHT}
    arms = {
        "plain": place.arm(profile),
        "cohort_feature": place.arm(profile, "cohort_feature"),
        "reweighting": place.arm(profile, "reweighting"),
        "oversampling": place.arm(profile, "oversampling"),
        "groupdro": place.arm(profile, "groupdro"),
        "head_only": place.arm(profile, "one_head", method_parameters={"side": "head", "weight": WEIGHT}),
        "tail_only": place.arm(profile, "one_head", method_parameters={"side": "tail", "weight": WEIGHT}),
        "membership": place.arm(profile, "membership", weight=MEMBERSHIP_WEIGHT),
        "random_pair": _random_pair(profile, place),
        "multi_cohort": place.arm(profile, "multi_cohort", method_parameters={"weight": WEIGHT}),
        "mmoe": place.arm(profile, "mmoe", method_parameters=pair),
        "ple": place.arm(profile, "ple", method_parameters=pair),
        "pcgrad": place.arm(profile, "pcgrad", method_parameters=pair),
        "c2al": place.arm(profile, "c2al", weight=WEIGHT),
    }
    return {name: runs for name, runs in arms.items() if not (short and name in AWAY)}


def longer(profile: Profile, place: Place) -> list[ClickRunConfig]:
    """The plain arm with twice the epochs: what a rival's extra time would have bought."""
    return place.arm(aside(profile), epochs=2 * place.run().epochs)


def learning_rate_sweep(
    profile: Profile, place: Place, arms: Sequence[str] = ("plain", "c2al", "membership"), seeds: int = 2
) -> dict[str, dict[float, list[ClickRunConfig]]]:
    """Arm -> learning rate -> runs, the same rates for every arm, on the first seeds; selected on validation.

    Args:
        profile: all the seeds of its side experiments are taken at paper.
        place: where.
        arms: of :func:`rivals`.
        seeds: how many elsewhere.
    """
    configs = {name: runs for name, runs in rivals(profile, place).items() if name in arms}
    seeds = len(profile.seeds) if profile.name == "paper" else seeds
    return {
        name: {
            factor * runs[0].learning_rate: at_rate(runs[:seeds], factor * runs[0].learning_rate)
            for factor in RATE_FACTORS
        }
        for name, runs in configs.items()
    }


def at_rate(runs: Sequence[ClickRunConfig], rate: float) -> list[ClickRunConfig]:
    """The same runs with another learning rate."""
    return [replace(run, learning_rate=rate) for run in runs]


def full_size() -> dict[str, Place]:
    """Where the headline is run at full size, outside the book's pages; name in tables -> place."""
    paper = PROFILES["paper"]
    return {
        "Tmall": merchants(),
        "1.2 million rows, cohorts of 20 %": world(paper),
        "1.2 million rows, cohorts of 5 %": world(paper, **SMALL_COHORTS),
    }


def larger_models() -> dict[tuple[str, str], Arms]:
    """(data, model) -> plain, C2AL and a random pair, in models nearer to the paper's; outside the book's pages.

    The first model of each data set is the one that the rest of the book has.
    """
    quick, paper = PROFILES["quick"], PROFILES["paper"]
    small, tmall = world(quick), merchants()
    wide = {"hidden": 128, "attention_size": 8}
    settings: dict[tuple[str, str], tuple[Place, dict[str, Any]]] = {
        ("world", "one layer"): (small, {}),
        ("world", "two layers"): (small, {"layers": 2}),
        ("world", "four times as wide"): (small, wide),
        ("world", "twice the epochs"): (small, {"epochs": 2 * small.run().epochs}),
        ("world, unequal base rates", "one layer"): (world(quick, **UNEQUAL_RATES), {}),
        ("world, 1.2 million rows", "one layer"): (world(paper), {}),
        ("Tmall", "one layer"): (tmall, {}),
        ("Tmall", "two layers"): (tmall, {"layers": 2}),
        ("Tmall", "four times as wide"): (tmall, wide),
    }
    return {name: _plain_c2al_and_chance(paper, place, **changes) for name, (place, changes) in settings.items()}


def found_pairs(study: Study, arms: Mapping[Any, Sequence[ClickRunConfig]]) -> dict[Any, list[Record]]:
    """The records that there are of arms, without training any: only those seeds of which every arm has one.

    Args:
        study: where records are looked for.
        arms: label -> configurations, of the same seeds for all.

    Returns:
        The same labels; equally long lists, which are empty where no seed is complete.
    """
    return _whole_pairs({label: [study.find(config) for config in of_arm] for label, of_arm in arms.items()})


def _whole_pairs(found: Mapping[Any, Sequence[Record | None]]) -> dict[Any, list[Record]]:
    whole = [place for place, records in enumerate(zip(*found.values(), strict=True)) if None not in records]
    return {label: [records[place] for place in whole] for label, records in found.items()}


def compare_found(
    study: Study, arms: Arms, *, samples: int = 500
) -> tuple[dict[str, ClickComparison | None], list[Record | None]]:
    """Each arm against the plain one, as far as there are records; nothing is trained.

    Args:
        study: where records are looked for.
        arms: with ``plain`` and, for the cohorts, ``c2al`` among them.
        samples: resamples of the users.

    Returns:
        Arm -> comparison over the seeds that have all three records, ``None`` for fewer than two of them; and all
        records looked for, for :func:`dslstudy.tables.state_of`.
    """
    records = {label: [study.find(config) for config in of_arm] for label, of_arm in arms.items()}
    found: dict[str, ClickComparison | None] = {}
    for label in arms:
        if label != "plain":
            kept = _whole_pairs({name: records[name] for name in ("plain", "c2al", label)})
            found[label] = None
            if len(kept["plain"]) > 1:
                found[label] = compare_clicks(kept[label], kept["plain"], cohorts=kept["c2al"], samples=samples)
    return found, [record for of_arm in records.values() for record in of_arm]


def paper_arms(profile: Profile) -> dict[str, Arms]:
    """All that is run in the background and committed, in the order of interest; name -> arms."""
    tmall, few = merchants(), aside(profile)
    large, small_cohorts = world(profile), world(profile, **SMALL_COHORTS)
    weights = {
        f"{method} {weight}": arm
        for method in ("c2al", "membership")
        for weight, arm in weight_sweep(profile, tmall, method)[1].items()
    }
    models = {f"{data}, {model}": arms for (data, model), arms in larger_models().items() if model != "one layer"}
    return {
        "tmall": headline(profile, tmall),
        "world": headline(profile, large),
        "world, small cohorts": headline(few, small_cohorts),
        **models,
        "tmall rivals": rivals(profile, tmall),
        "tmall weights": weights,
        "movielens rivals": rivals(profile, public(profile)),
        "world at full size, twice the epochs": _plain_and_c2al(few, large, epochs=2 * large.run().epochs),
        "world grid": {f"{dial}, {name}": arm for dial, arms in world_grid().items() for name, arm in arms.items()},
    }
