"""Claims about C2AL, each on public data and in the controlled world, from the arms of the headline experiment."""

from collections.abc import Callable, Mapping, Sequence
from math import nan

import numpy as np

from dslstudy.data.published import published
from dslstudy.metrics.significance import Interval, mean_interval
from dslstudy.study.claims import FEWEST, Claim, Evidence
from dslstudy.study.click_comparison import compare_clicks, paired_measure
from dslstudy.study.click_experiments import Arms, Place, headline, merchants, public, world
from dslstudy.study.profiles import PROFILES
from dslstudy.study.rerun import command_of
from dslstudy.study.store import Record
from dslstudy.study.study import Study

#: records by arm -> our value
Measure = Callable[[Mapping[str, Sequence[Record]]], Interval]


def c2al_claims() -> list[Claim]:
    """The claims of the C2AL paper, and what its account of them implies."""
    rows = published("c2al_claims")
    scopes = {"overall": rows[rows.table == "overall"]}
    scopes |= {side: rows[rows["slice"] == side] for side in ("head", "tail")}
    found = []
    for title, place in (("MovieLens-100K", public), ("Tmall", lambda _: merchants()), ("the controlled world", world)):
        for scope, chosen in scopes.items():
            values = chosen["ne_diff_percent"]
            who = "overall" if scope == "overall" else f"of the {scope} cohort"
            found.append(
                _click_claim(
                    f"C2AL lowers the normalized entropy {who}: {title}",
                    float(values.max()),
                    f"{values.max():g} to {values.min():g} %",
                    "%",
                    str(chosen["source"].iloc[0]),
                    "does-it-help",
                    "effect",
                    place,
                    _difference("c2al", "plain", scope),
                )
            )
        found += [
            _click_claim(
                f"C2AL gains more than {words}: {title}",
                -1.0,
                "implied",
                "%",
                "arXiv 2510.02215, its account of why the heads help",
                "against-the-obvious-alternatives",
                "direction",
                place,
                _difference("c2al", rival, "overall"),
            )
            for rival, words in (
                ("membership", "heads that predict cohort membership alone"),
                ("random_pair", "a random pair of cohorts of the same size"),
            )
        ]
        found += [
            _click_claim(
                f"{words}: {title}",
                1.0,
                "more",
                "",
                "arXiv 2510.02215, its analysis of attention weights",
                "auxiliary-heads",
                "direction",
                place,
                _measured(measure),
            )
            for measure, words in (
                ("attention 1 entropy", "Attention becomes denser (entropy of its entries)"),
                ("attention 1 kurtosis", "Attention becomes heavier-tailed (excess kurtosis)"),
            )
        ]
    found.append(
        _click_claim(
            "The exported model has as many parameters as the baseline (ratio)",
            1.0,
            "1",
            "",
            "arXiv 2510.02215, section on inference",
            "does-it-help",
            "value",
            public,
            _parameter_ratio,
        )
    )
    return found


def _click_claim(
    statement: str,
    reported: float,
    shown: str,
    unit: str,
    source: str,
    notebook: str,
    rule: str,
    place: Callable[..., Place],
    measure: tuple[tuple[str, str], Measure],
) -> Claim:
    labels, function = measure

    def evidence(study: Study) -> Evidence | None:
        for arms in _arms(study, place):
            found = {label: [study.find(config) for config in arms[label]] for label in labels}
            pairs = [pair for pair in zip(*found.values(), strict=True) if None not in pair]
            if len(pairs) < FEWEST:
                continue
            records = dict(zip(labels, map(list, zip(*pairs, strict=True)), strict=True))
            wanted = len(arms[labels[0]])
            note = f"{len(pairs)} of {wanted} paired runs, {arms[labels[0]][0].title}"
            runs = [record for of_arm in records.values() for record in of_arm]
            return Evidence(function(records), runs, 2 * wanted, len(pairs) == wanted, note)
        return None

    example = headline(PROFILES["quick"], place(PROFILES["quick"]))[labels[0]][0]
    return Claim("C2AL", statement, reported, shown, unit, source, notebook, rule, evidence, command_of(example))


def _arms(study: Study, place: Callable[..., Place]) -> list[Arms]:
    """The headline arms at paper size and at quick size; at a smoke study's own size."""
    names = ("smoke",) if study.profile.name == "smoke" else ("paper", "quick")
    return [headline(PROFILES[name], place(PROFILES[name])) for name in names]


def _difference(arm: str, reference: str, scope: str) -> tuple[tuple[str, str], Measure]:
    """``NE_diff`` with an interval that holds both the one over runs and the one over users."""

    def measure(records: Mapping[str, Sequence[Record]]) -> Interval:
        found = compare_clicks(records[arm], records[reference])
        if scope not in found.over_users:
            return Interval(nan, nan, nan)
        runs, users = found.over_runs[scope], found.over_users[scope]
        return Interval(runs.estimate, min(runs.low, users.low), max(runs.high, users.high))

    return (arm, reference), measure


def _measured(name: str) -> tuple[tuple[str, str], Measure]:
    return ("c2al", "plain"), lambda records: paired_measure(records["c2al"], records["plain"], name)


def _ratio(records: Mapping[str, Sequence[Record]]) -> Interval:
    sizes = [[record.model["parameters"] for record in records[label]] for label in ("c2al", "plain")]
    return mean_interval(np.divide(*sizes))


_parameter_ratio = (("c2al", "plain"), _ratio)
