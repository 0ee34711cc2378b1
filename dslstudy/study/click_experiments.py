"""The click runs behind the book's tables and figures, each written down once.

An *arm* is one way of training with a configuration per pair: equal places in two arms share seed, world and rows. The
baseline ``plain`` is one arm whatever it is compared with, so experiments share its runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dslstudy.errors import InputError
from dslstudy.study.click_config import ClickRunConfig
from dslstudy.study.profiles import Profile
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
EPOCH_FACTORS = (0.25, 0.5, 1.0)
#: seeds of whatever stands beside the headline (sweeps, turned dials, rivals) at quick; the headline has all
SIDE_SEEDS = 3

_TINY: dict[str, Any] = {"batch_size": 256, "epochs": 1, "embedding_size": 4, "hidden": 8}
_TINY_WORLD = {"rows": 6000, "users": 200, "fields": 3, "field_size": 10}

# Chosen for the plain arm on the validation rows of two worlds of 200,000 rows. Mean log loss there (the truth: 0.3893)
# with a step size of 0.01: 0.3964 after three epochs, 0.3960 after four, 0.3958 after six. None of 23 settings (step
# sizes 0.006 to 0.03, three to six epochs, batches of 256 to 2048, weight decay 0 to 0.001; most of them in the first
# world only) was better than 0.02 with six epochs, 0.3956: four come within a tenth of a per cent, in two thirds of the
# time. With less weight decay it was worse. Eight epochs take off another half per cent, in the first world: more than
# the book can afford at quick, and the chapter "Does it help?" shows what it means.
_WORLD: dict[str, Any] = {"learning_rate": 0.01, "epochs": 4, "weight_decay": 1e-3}
# Chosen for the plain arm on validation rows: more epochs, or no weight decay, and the users' embeddings overfit.
_PUBLIC: dict[str, Any] = {"learning_rate": 0.01, "epochs": 2, "weight_decay": 1e-3}


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
    """The profile with the seeds of what stands beside the headline: the first three at quick, all elsewhere."""
    return replace(profile, seeds=profile.seeds[:SIDE_SEEDS]) if profile.name == "quick" else profile


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
        _TINY if profile.name == "smoke" else _WORLD,
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
    return Place("Tmall", "tmall", {}, {"axis": axis, "bins": bins}, _PUBLIC)


def headline(profile: Profile, place: Place) -> Arms:
    """Plain, C2AL, the null arm, a head that knows membership alone, and random pairs of the same size and unit."""
    return {
        "plain": place.arm(profile),
        "c2al": place.arm(profile, "c2al", weight=WEIGHT),
        "null": place.arm(profile, "c2al", weight=NULL),
        "membership": place.arm(profile, "membership", weight=MEMBERSHIP_WEIGHT),
        "random_pair": place.arm(profile, "c2al", weight=WEIGHT, random_pair_seed=RANDOM_PAIRS[0]),
    }


def world_grid(profile: Profile) -> dict[str, tuple[Place, Arms]]:
    """The controlled world with one dial turned at a time; what is turned -> place and its arms."""
    dials: dict[str, dict[str, Any]] = {
        "contrast 2, tail 20 %": {},
        "no contrast": {"contrast": 0.0},
        "cohort in the user's id": {"visibility": "id"},
        "cohort hidden": {"visibility": "hidden"},
        "unequal base rates": {"head_rate": 0.25, "tail_rate": 0.05},
    }
    if profile.name == "paper":
        dials |= {
            "contrast 1": {"contrast": 1.0},
            "contrast 4": {"contrast": 4.0},
            "tail 5 %": {"tail_share": 0.05},
            "noise 20 %": {"noise": 0.2},
            "tail 5 %, head 75 %": {"tail_share": 0.05, "head_share": 0.75},
            "independent cohorts": {"relation": "independent"},
        }
    grid = {}
    for name, turned in dials.items():
        place = world(profile, **turned)
        grid[name] = place, _plain_and_c2al(aside(profile), place)
    return grid


def _plain_and_c2al(profile: Profile, place: Place, **changes: Any) -> Arms:
    return {
        "plain": place.arm(profile, **changes),
        "c2al": place.arm(profile, "c2al", weight=WEIGHT, **changes),
    }


def contrast_by_share(profile: Profile) -> dict[tuple[float, float], Arms]:
    """Controlled worlds by contrast and share of the head; the tail keeps a fifth.

    Args:
        profile: decides how many worlds.

    Returns:
        (contrast, share of the head) -> plain and C2AL.
    """
    contrasts, shares = ((0.0, 2.0), (0.2, 0.75))
    if profile.name == "paper":
        contrasts, shares = ((0.0, 1.0, 2.0, 4.0), (0.2, 0.5, 0.75))
    grid = {}
    for contrast in contrasts:
        for share in shares:
            place = world(profile, contrast=contrast, head_share=share)
            grid[contrast, share] = _plain_and_c2al(aside(profile), place)
    return grid


def training_sweep(profile: Profile, place: Place) -> dict[int, Arms]:
    """Epochs -> plain, C2AL and a random pair, up to the place's own number: what a gain owes to a short training."""
    own = place.run().epochs
    lengths = sorted({max(1, round(factor * own)) for factor in EPOCH_FACTORS})
    seeds, chance = aside(profile), {"weight": WEIGHT, "random_pair_seed": RANDOM_PAIRS[0]}
    return {
        epochs: _plain_and_c2al(seeds, place, epochs=epochs)
        | {"random_pair": place.arm(seeds, "c2al", epochs=epochs, **chance)}
        for epochs in lengths
    }


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
    weights = {"smoke": (NULL, 0.3), "quick": (NULL, 0.1, 1.0, 3.0)}.get(profile.name, WEIGHTS)
    if profile.name == "quick" and place.worlds:
        weights = (NULL, 0.1, 1.0)  # a run in a world takes several times as long
    if method != "c2al":
        weights = tuple(weight for weight in weights if weight != NULL)  # one null arm is enough
    return place.arm(profile), {weight: place.arm(profile, method, weight=weight) for weight in weights}


def share_sweep(profile: Profile, axis: str = "popularity") -> dict[int, list[ClickRunConfig]]:
    """Bins on either side of an axis of the public data -> C2AL's arm: one, three, five tenths; two at paper, too."""
    bins = {"smoke": (1, 3), "quick": (1, 3, 5)}.get(profile.name, (1, 2, 3, 5))
    seeds = aside(profile)
    return {number: public(profile, axis, number).arm(seeds, "c2al", weight=WEIGHT) for number in bins}


def axis_sweep(profile: Profile) -> dict[str, list[ClickRunConfig]]:
    """Axis of the public data -> C2AL's arm on its extremes."""
    axes = {"activity": 3} if profile.name == "smoke" else {"age": 1, "activity": 3, "popularity": 3, "film year": 1}
    return {axis: public(profile, axis, bins).arm(profile, "c2al", weight=WEIGHT) for axis, bins in axes.items()}


def random_pairs(profile: Profile, place: Place) -> dict[int, list[ClickRunConfig]]:
    """Seed of a random pair -> C2AL's arm with it."""
    profile = aside(profile)
    return {
        number: place.arm(profile, "c2al", weight=WEIGHT, random_pair_seed=number)
        for number in (RANDOM_PAIRS[:1] if profile.name == "smoke" or place.worlds else RANDOM_PAIRS)
    }


def rivals(profile: Profile, place: Place) -> Arms:
    """C2AL and the obvious alternatives with the same budget, all with both heads' weight where they have heads."""
    profile = aside(profile)
    pair = {"lambda_head": WEIGHT, "lambda_tail": WEIGHT}
    return {
        "plain": place.arm(profile),
        "cohort_feature": place.arm(profile, "cohort_feature"),
        "reweighting": place.arm(profile, "reweighting"),
        "oversampling": place.arm(profile, "oversampling"),
        "groupdro": place.arm(profile, "groupdro"),
        "head_only": place.arm(profile, "one_head", method_parameters={"side": "head", "weight": WEIGHT}),
        "tail_only": place.arm(profile, "one_head", method_parameters={"side": "tail", "weight": WEIGHT}),
        "membership": place.arm(profile, "membership", weight=MEMBERSHIP_WEIGHT),
        "random_pair": place.arm(profile, "c2al", weight=WEIGHT, random_pair_seed=RANDOM_PAIRS[0]),
        "multi_cohort": place.arm(profile, "multi_cohort", method_parameters={"weight": WEIGHT}),
        "mmoe": place.arm(profile, "mmoe", method_parameters=pair),
        "ple": place.arm(profile, "ple", method_parameters=pair),
        "pcgrad": place.arm(profile, "pcgrad", method_parameters=pair),
        "c2al": place.arm(profile, "c2al", weight=WEIGHT),
    }


def longer(profile: Profile, place: Place) -> list[ClickRunConfig]:
    """The plain arm with twice the epochs: what a rival's extra time would have bought."""
    return place.arm(aside(profile), epochs=2 * place.run().epochs)


def learning_rate_sweep(
    profile: Profile, place: Place, arms: Sequence[str] = ("plain", "c2al", "membership"), seeds: int = 2
) -> dict[str, dict[float, list[ClickRunConfig]]]:
    """Arm -> learning rate -> runs, the same rates for every arm, on the first seeds; selected on validation.

    Args:
        profile: all its seeds are taken at paper.
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


def paper_arms(profile: Profile) -> dict[str, Arms]:
    """All that is run in the background and committed, in the order of interest; name -> arms."""
    tmall = merchants()
    return {
        "tmall": headline(profile, tmall),
        "tmall weights": {f"weight {weight}": arm for weight, arm in weight_sweep(profile, tmall)[1].items()},
        "tmall rivals": rivals(profile, tmall),
        "movielens": headline(profile, public(profile)),
        "movielens rivals": rivals(profile, public(profile)),
        "world": headline(profile, world(profile)),
        "world rivals": rivals(profile, world(profile)),
        "world grid": {
            f"{dial}, {name}": arm for dial, (_, arms) in world_grid(profile).items() for name, arm in arms.items()
        },
    }
