"""From a configuration to rows: the split of a click run, and which of its rows are in which cohort."""

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from dslstudy.c2al.cohorts import (
    CohortPair,
    Discovery,
    RandomPair,
    discover,
    extreme_pair,
    named_pair,
    out_of_sample_predictions,
    random_pair,
    unit_ids,
)
from dslstudy.data.click_logs import ClickLog, ClickSplit, load_click_split
from dslstudy.engine.clicks import train_clicks
from dslstudy.study.click_config import ClickRunConfig
from dslstudy.study.click_rows import HEAD, TAIL


def click_split(config: ClickRunConfig) -> ClickSplit:
    """The rows of a run, loaded or drawn once per process as long as few others come between."""
    return _split(*config.data_key)


@lru_cache(maxsize=4)
def _split(dataset: str, parameters: tuple[tuple[str, Any], ...], seed: int) -> ClickSplit:
    return load_click_split(dataset, seed=seed, progress=False, **dict(parameters))


def cohort_pair(config: ClickRunConfig) -> CohortPair | RandomPair | None:
    """Head and tail of a run; ``None`` for a method that knows no cohorts.

    Raises:
        InputError: the data set has no such axis, or the axis no such bins.
    """
    if not config.axis:
        return None
    split = click_split(config)
    axis = split.axis(config.axis)
    if config.pair == "discover":
        pair = discovery(config).pair
    elif config.pair == "labels":
        pair = named_pair(axis, config.head, config.tail)
    else:
        pair = extreme_pair(axis, config.bins)
    return pair if config.random_pair_seed is None else random_pair(split, pair, seed=config.random_pair_seed)


def sides(config: ClickRunConfig, part: str = "test") -> np.ndarray | None:
    """(n,) int8: 1 in the head, -1 in the tail, 0 in neither; ``None`` for a method that knows no cohorts.

    Args:
        config: of the run.
        part: ``train``, ``validation`` or ``test``.
    """
    pair = cohort_pair(config)
    if pair is None:
        return None
    head, tail = pair.masks(click_split(config), part)
    return HEAD * head.astype(np.int8) + TAIL * tail.astype(np.int8)


def discovery(config: ClickRunConfig) -> Discovery:
    """What discovery finds along a run's axis: the same for all seeds and methods, since its baseline has its own seed.

    Raises:
        InputError: the data set has no such axis, or fewer than two of its bins are large enough.
    """
    plain = replace(config, method="plain", method_parameters={}, seed=0)
    return _discovery(json.dumps(plain.to_dict()), config.axis, config.divergence or "js")


@lru_cache(maxsize=8)
def _discovery(baseline: str, axis: str, divergence: str) -> Discovery:
    split = click_split(ClickRunConfig.from_dict(json.loads(baseline)))
    chosen = split.axis(axis)
    units = unit_ids(split.train, "user" if chosen.unit == "row" else chosen.unit)
    return discover(chosen, _predictions(baseline), units, divergence=divergence)


@lru_cache(maxsize=8)
def _predictions(baseline: str) -> np.ndarray:
    """Out-of-sample predictions for the training rows by a plain run, given as JSON."""
    config = ClickRunConfig.from_dict(json.loads(baseline))
    split = click_split(config)

    def fit(fitted: ClickLog, held_out: ClickLog) -> np.ndarray:
        nothing = held_out.select(np.arange(0))
        halves = ClickSplit("halves", fitted, nothing, held_out, {}, config.split_seed)
        (run,) = train_clicks(halves, [config], progress=False)
        return run.test

    return out_of_sample_predictions(split.train, fit, seed=config.split_seed)
