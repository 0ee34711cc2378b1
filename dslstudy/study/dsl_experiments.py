"""The runs around DSL's chosen setting: its parts taken away, its rivals, and its dials turned one by one.

Chapters "Ablations and readings" and "Sensitivity".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp, sqrt
from typing import Any

import numpy as np
from scipy.special import stdtrit

from dslstudy.errors import InputError
from dslstudy.losses.dsl import READINGS
from dslstudy.study.cells import Cell, seed_runs, start_runs
from dslstudy.study.config import RunConfig
from dslstudy.study.protocol import Protocol
from dslstudy.study.spaces import OF_RUN, SPACES
from dslstudy.study.study import Study

#: groups of arms, in the order in which they are shown
PARTS, TEMPERATURES, OTHER_READINGS, CHEAP_RIVALS, PULL = "parts", "temperature", "readings", "rivals", "pull"
#: the reading that is the default, so that a run of another one is an arm
_DEFAULT_READING = "R1"
_READINGS = {
    "smoke": ("R2",),
    "quick": ("R2", "R3", "R4", "R5"),
    "paper": tuple(name for name in READINGS if name != _DEFAULT_READING),
}
#: weights of the positive, down to where validation falls on Amazon Health; the usual share of a smoothed label
POSITIVE_WEIGHTS, LABEL_SMOOTHING = (0.9, 0.8, 0.7), 0.1
#: weights on both sides of one, and temperatures, for a backbone with a loss of its own
_PULLS, _PULLED_AT = (0.8, 1.0, 1.25, 1.5, 2.0, 3.0), (0.1, 0.2)
_WITH_WEIGHT = {"softmax": "positive weight {:g}", "dsl": "DSL, positive weight {:g}"}
#: strength of loss-value reweighting, and size of a flipped alpha, where DSL's own setting gives none
_STRENGTH, _ALPHA = 0.2, 0.3


@dataclass(frozen=True)
class Arm:
    """One line of the ablation.

    Attributes:
        group: which question it belongs to.
        change: what is different from the full DSL, or, for a rival, from tuned SL.
        runs: one for each seed.
    """

    group: str
    change: str
    runs: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Chosen:
    """The settings that everything here starts from.

    Attributes:
        dsl: of DSL, with the first seed of the table.
        softmax: of SL, likewise.
        searched: whether both come out of finished searches; otherwise they are where the searches start.
    """

    dsl: RunConfig
    softmax: RunConfig
    searched: bool


def chosen_settings(study: Study, protocol: Protocol, dataset: str, *, split: str = "default") -> Chosen:
    """What the searches of the cells with matrix factorization chose, as far as the stores know; nothing is trained.

    Args:
        study: whose records are looked at.
        protocol: of a profile.
        dataset: one of its data sets.
        split: of the data set.
    """
    cells = [
        Cell(protocol=protocol, dataset=dataset, backbone="mf", loss=loss, split=split) for loss in ("dsl", "softmax")
    ]
    found = [seed_runs(study, cell) for cell in cells]
    if all(found):
        return Chosen(found[0][0], found[1][0], True)
    dsl, softmax = (start_runs(cell)[0] for cell in cells)
    return Chosen(dsl, softmax, False)


def seeds_of(run: RunConfig, protocol: Protocol) -> tuple[RunConfig, ...]:
    """A run with each seed of the tables."""
    return tuple(_changed(run, seed=seed) for seed in protocol.seeds)


def weight_arms(loss: str) -> dict[float, str]:
    """Weight on the positive -> what the arm of :func:`ablation` with it is called.

    Args:
        loss: ``softmax`` or ``dsl``.
    """
    return {weight: _WITH_WEIGHT[loss].format(weight) for weight in POSITIVE_WEIGHTS}


def ablation(chosen: Chosen, protocol: Protocol) -> dict[str, Arm]:
    """Chapter *Ablations and readings*: DSL without each of its parts, under other readings, and its cheap rivals.

    The arms of DSL keep everything of its chosen setting but what their name says. A rival keeps everything of SL's
    chosen setting and adds its own hyperparameter. All have the seeds of the tables: 2 at profile ``smoke``, 3 at
    ``quick`` (24 arms with the references, of which the tables have trained some), 5 at ``paper``.

    Args:
        chosen: the settings to start from.
        protocol: of the profile.

    Returns:
        What the arm is called -> the arm.
    """
    dsl, softmax = chosen.dsl, chosen.softmax
    temperature, gamma = (dsl.loss_parameters[name] for name in ("temperature", "gamma"))
    blind = {name: value for name, value in dsl.loss_parameters.items() if name != "reading"}
    lone = {name: value for name, value in blind.items() if name != "slate_size"}
    sharp = temperature * exp(-(gamma**2))
    arms = {
        "no kappa": (PARTS, "α = β = 0", _changed(dsl, alpha=0.0, beta=0.0)),
        "no temperature per example": (PARTS, "γ = 0", _changed(dsl, gamma=0.0)),
        "hardness only": (PARTS, "β = γ = 0", _changed(dsl, beta=0.0, gamma=0.0)),
        "similarity only": (PARTS, "α = γ = 0", _changed(dsl, alpha=0.0, gamma=0.0)),
        "slate blind to kappa": (PARTS, "slate by margin alone", _of_loss(dsl, "blind_slate", **blind)),
        "temperature from own score": (PARTS, "I_i = -s_ui, no slate", _of_loss(dsl, "own_score", **lone)),
        "neither scale": (
            TEMPERATURES,
            "SL at τ, the mean of τ_i",
            _of_loss(dsl, "softmax", temperature=temperature),
        ),
        "neither scale (as sharp)": (
            TEMPERATURES,
            "SL at τ exp(-γ²), where 1/τ is the mean of 1/τ_i",
            _of_loss(dsl, "softmax", temperature=sharp),
        ),
    }
    for reading in _READINGS[protocol.name]:
        arms[f"reading {reading}"] = (OTHER_READINGS, READINGS[reading], _changed(dsl, reading=reading))
    tau = softmax.loss_parameters["temperature"]
    for weight, name in weight_arms("softmax").items():
        run = _of_loss(softmax, "positive_weight", temperature=tau, weight=weight)
        arms[name] = (CHEAP_RIVALS, f"SL, c = {weight:g}", run)
    run = _of_loss(softmax, "label_smoothing", temperature=tau, label_smoothing=LABEL_SMOOTHING)
    arms[f"label smoothing {LABEL_SMOOTHING:g}"] = (CHEAP_RIVALS, f"SL, ε = {LABEL_SMOOTHING:g}", run)
    for weight, name in weight_arms("dsl").items():
        run = _of_loss(dsl, "dsl_positive_weight", **blind, weight=weight)
        arms[name] = (PULL, f"DSL, c = {weight:g}", run)
    twice = 2 * (gamma or _STRENGTH)
    arms["twice γ"] = (PULL, f"γ = {twice:g}", _changed(dsl, gamma=twice))
    arms["reading R5, twice γ"] = (PULL, f"R5, γ = {twice:g}", _changed(dsl, reading="R5", gamma=twice))
    strength = -(gamma or _STRENGTH)
    run = _of_loss(softmax, "loss_reweighting", temperature=tau, strength=strength)
    arms[f"loss-value reweighting {strength:g}"] = (CHEAP_RIVALS, f"SL, δ = {strength:g}", run)
    return {name: Arm(group, change, seeds_of(run, protocol)) for name, (group, change, run) in arms.items()}


def two_scales(chosen: Chosen, protocol: Protocol) -> dict[str, tuple[RunConfig, ...]]:
    """Neither scale of DSL, each alone, and both: what :class:`dslstudy.dsl_tables.TwoScales` compares.

    Args:
        chosen: the settings to start from.
        protocol: of the profile.

    Returns:
        Attribute of ``TwoScales`` -> a run for each seed.
    """
    arms = ablation(chosen, protocol)
    return {
        "neither": arms["neither scale"].runs,
        "weights": arms["no temperature per example"].runs,
        "temperatures": arms["no kappa"].runs,
        "both": seeds_of(chosen.dsl, protocol),
    }


def pulls_elsewhere(protocol: Protocol, dataset: str, backbone: str) -> dict[tuple[float, float], RunConfig]:
    """The softmax loss with weights on both sides of one, with a backbone of its own loss: trials, one seed each.

    Args:
        protocol: of a profile.
        dataset: one of its data sets.
        backbone: whose search of BSL found another pull than SL's.

    Returns:
        (temperature, weight on the positive) -> the run.
    """
    base = protocol.base_run(dataset, backbone, "positive_weight", trial=True)
    return {
        (temperature, weight): _changed(base, temperature=temperature, weight=weight)
        for temperature in _PULLED_AT
        for weight in _PULLS
    }


# Chapter "Sensitivity": values of each dial; those of the chosen settings are added. At `paper`, the search spaces.
_GRID = {
    "smoke": {"alpha": (-0.3, 0.3), "beta": (0.0, 0.2)},
    "quick": {"alpha": (-0.6, -0.3, 0.0, 0.3), "beta": (0.0, 0.2)},
    "paper": {name: SPACES["dsl"][name] for name in ("alpha", "beta")},
}
_DIALS: dict[str, dict[str, tuple[float | int, ...]]] = {
    "smoke": {
        "gamma": (0.0, 0.4),
        "slate_size": (5, 20),
        "temperature": (0.1, 0.5),
        "num_negatives": (8,),
        "batch_size": (512,),
        "embedding_size": (8,),
    },
    "quick": {
        "gamma": (0.0, 0.2, 0.4),
        "slate_size": (5, 20, 50),
        "temperature": (0.1, 0.2, 0.5),
        "num_negatives": (10, 25, 50),
        "batch_size": (1024, 2048, 4096),
        "embedding_size": (8, 16, 32),
    },
    "paper": {
        **{name: SPACES["dsl"][name] for name in ("gamma", "slate_size", "temperature")},
        "num_negatives": (100, 300, 1000),
        "batch_size": (512, 1024, 2048),
        "embedding_size": (16, 32, 64, 128),
    },
}
#: fields of a run that are turned as dials of their own, besides the hyperparameters of the losses
_FIELDS = (*OF_RUN, "num_negatives", "batch_size", "embedding_size", "seed")


@dataclass(frozen=True)
class Dials:
    """Settings around a centre, a run each.

    Attributes:
        grid: (alpha, beta) -> a run of DSL.
        lines: dial -> loss -> value -> a run; SL only where it has the dial.
    """

    grid: Mapping[tuple[float, float], RunConfig]
    lines: Mapping[str, Mapping[str, Mapping[float, RunConfig]]]

    @property
    def runs(self) -> list[RunConfig]:
        """All of them, each once."""
        of_lines = [run for of_loss in self.lines.values() for line in of_loss.values() for run in line.values()]
        return list({run.key: run for run in [*self.grid.values(), *of_lines]}.values())


def sensitivity(chosen: Chosen, protocol: Protocol) -> Dials:
    """Chapter *Sensitivity*: one dial at a time, alpha and beta together; the centre is one run for all dials.

    Runs are as long as those of the tables and have their first seed, so that the tables' runs and arms of the ablation
    serve here too: 29 runs at profile ``quick``, 44 at ``paper``.

    Args:
        chosen: the settings in the centre.
        protocol: of the profile.
    """
    dsl = chosen.dsl
    alphas, betas = (sorted({*_GRID[protocol.name][name], dsl.loss_parameters[name]}) for name in ("alpha", "beta"))
    grid = {(alpha, beta): _changed(dsl, alpha=alpha, beta=beta) for alpha in alphas for beta in betas}
    lines: dict[str, dict[str, dict[float, RunConfig]]] = {}
    for dial, values in _DIALS[protocol.name].items():
        having = {run.loss: run for run in (dsl, chosen.softmax) if _value(run, dial) is not None}
        shown = sorted({*values, *(_value(run, dial) for run in having.values())})
        lines[dial] = {loss: {value: _changed(run, **{dial: value}) for value in shown} for loss, run in having.items()}
    return Dials(grid, lines)


def centres_of(chosen: Chosen, dials: Dials) -> dict[str, dict[str, float]]:
    """Dial -> loss -> the value in the centre."""
    runs = {run.loss: run for run in (chosen.dsl, chosen.softmax)}
    return {dial: {loss: _value(runs[loss], dial) for loss in of} for dial, of in dials.lines.items()}


def signs_of_alpha(chosen: Chosen, protocol: Protocol) -> dict[float, tuple[RunConfig, ...]]:
    """Chapter *Sensitivity*: DSL with hardness weighed down, not at all, and up, on the seeds of the tables.

    Args:
        chosen: the settings to start from; the size of its alpha is kept.
        protocol: of the profile.

    Returns:
        Alpha, ascending -> one run for each seed.
    """
    size = abs(chosen.dsl.loss_parameters["alpha"]) or _ALPHA
    return {alpha: seeds_of(_changed(chosen.dsl, alpha=alpha), protocol) for alpha in (-size, 0.0, size)}


def seed_noise(values: Iterable[float], confidence: float = 0.95) -> float:
    """By how much two runs of one setting differ, at most, with some confidence: what is less may be chance.

    Args:
        values: of one setting with several seeds.
        confidence: share of pairs that differ by less.

    Raises:
        InputError: fewer than two values.
    """
    of_seeds = np.fromiter(values, float)
    if of_seeds.size < 2:
        raise InputError(f"chance shows between seeds; give at least two values, not {of_seeds.size}")
    quantile = stdtrit(of_seeds.size - 1, (1 + confidence) / 2)
    return float(quantile * sqrt(2) * of_seeds.std(ddof=1))


def _value(run: RunConfig, dial: str) -> Any:
    """What a run has of a dial; ``None`` where it does not have it."""
    return getattr(run, dial) if dial in _FIELDS else run.loss_parameters.get(dial)


def _changed(run: RunConfig, **changes: Any) -> RunConfig:
    """The run with other fields or other hyperparameters of its loss."""
    of_run = {name: value for name, value in changes.items() if name in _FIELDS}
    of_loss = {name: value for name, value in changes.items() if name not in _FIELDS}
    values = run.to_dict()
    return RunConfig.from_dict(values | of_run | {"loss_parameters": {**values["loss_parameters"], **of_loss}})


def _of_loss(run: RunConfig, loss: str, **parameters: Any) -> RunConfig:
    """The run with another loss."""
    return RunConfig.from_dict(run.to_dict() | {"loss": loss, "loss_parameters": parameters})
