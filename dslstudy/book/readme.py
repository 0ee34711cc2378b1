"""The README's figure and table, made from the committed records: ``python -m dslstudy.book.readme``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

from dslstudy import tables
from dslstudy.data.published import published_value, published_values
from dslstudy.dsl_tables import TwoScales, WeightCurves
from dslstudy.errors import InputError
from dslstudy.figures.search import draw_cells
from dslstudy.figures.style import apply_style
from dslstudy.names import display_name, metric_name
from dslstudy.study import Study, open_study
from dslstudy.study.cells import MATCHED, State, cells_of, state_of, unprimed_runs
from dslstudy.study.dsl_experiments import ablation, chosen_settings, weight_arms
from dslstudy.study.protocol import protocol_of
from dslstudy.study.search import best_trial
from dslstudy.study.store import Record, committed_store
from dslstudy.study_tables import ALIKE, beside, cell_label, compare, pull_of_bsl, pulls_of_bsl

DATASET = "amazon2014-health"
METRIC = "ndcg@20"
ROOT = Path(__file__).parents[2]
FIGURE = "book/_static/health.svg"
BEGIN, END = "<!-- results: written by python -m dslstudy.book.readme -->", "<!-- /results -->"


def main(root: Path = ROOT) -> None:
    """Write the figure and the README's part between its two marks.

    Args:
        root: the repository.

    Raises:
        InputError: the README has lost its marks.
    """
    readme = root / "README.md"
    readme.write_text(with_results(readme.read_text(encoding="utf-8")), encoding="utf-8")
    complete = {state.cell.label: state for state in _states() if state.done and state.cell.backbone in ("ease", "mf")}
    ours = {m: tables.found_values({label: s.found for label, s in complete.items()}, m) for m in tables.METRICS}
    apply_style()
    with mpl.rc_context({"svg.hashsalt": "dslstudy", "savefig.facecolor": "white"}):  # the same bytes every time
        figure = draw_cells(
            ours,
            published=published_values(DATASET, complete),
            names={label: cell_label(label) for label in complete},
        )
        figure.savefig(root / FIGURE, metadata={"Date": None})


def with_results(text: str) -> str:
    """The README with its results as the committed records have them now."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"README.md must hold the marks {BEGIN} and {END}")
    states = _states()
    complete = [state for state in states if state.done]
    figure = f"![Our runs beside the published values on Amazon Health, matrix factorization]({FIGURE})"
    count = f"All {len(states)} lines of this data set are complete."
    if len(complete) < len(states):
        count = f"Of the {len(states)} lines of this data set {len(complete)} are complete; only these are shown."
    around = _around_dsl(complete)
    said = [*_beside_control(complete), *_without_start(complete), *around, *_bsl(complete), *_shifted(), count]
    sentences = "\n".join(f"* {sentence}" for sentence in said)
    return f"{before}{BEGIN}\n\n{figure}\n\n{_table(complete)}\n\n{sentences}\n\n{END}{after}"


def _study() -> Study:
    """The committed records and no others."""
    return open_study("paper", store=committed_store().root, progress=False)


def _states() -> list[State]:
    """All lines of the table of one data set."""
    study = _study()
    return [state_of(study, cell) for cell in cells_of(protocol_of("paper"), datasets=[DATASET])]


def _without_start(states: list[State]) -> list[str]:
    """What DSL's search found besides the start that it was given, a sentence for each backbone that has the runs."""
    study, sentences = _study(), []
    for state in states:
        runs = unprimed_runs(study, state.cell) if state.cell.loss == "dsl" else []
        found = [record for run in runs if (record := study.committed.get(run))]
        others = {s.cell.label: s.found for s in states if _backbone(s) == state.cell.backbone}
        if {run.key for run in runs} == {record.key for record in state.found}:
            continue  # its search chose another point than its start: the table's own line
        if not runs or len(found) < len(runs) or not {"softmax", MATCHED} <= set(others):
            continue
        sentences.append(
            f"With {display_name(_backbone(state))} the best setting of DSL that its search found besides the start it"
            f" was given reaches {tables.plus_minus([record.test[METRIC] for record in found])};"
            f" beside SL {_both_metrics(found, others['softmax'])}; beside {cell_label(MATCHED)}"
            f" {_both_metrics(found, others[MATCHED])} (uncorrected)."
        )
    return sentences


def _around_dsl(states: list[State]) -> list[str]:
    """What is left of DSL without its parts, and what a weight on the positive does for SL."""
    protocol, study = protocol_of("paper"), _study()
    lines = {state.cell.label: state.found for state in states if _backbone(state) == "mf"}
    chosen = chosen_settings(study, protocol, DATASET)
    if not (chosen.searched and {"softmax", "dsl"} <= set(lines)):
        return []
    found = {name: [study.find(run) for run in arm.runs] for name, arm in ablation(chosen, protocol).items()}
    ready = {name: [record for record in of if record] for name, of in found.items() if all(of)}
    return [*_parts(ready, lines), *_weaker_pull(ready, lines)]


#: arms of the ablation -> how a sentence calls them
_PARTS = {
    "no kappa": "DSL without its weights kappa",
    "no temperature per example": "DSL with one temperature for all examples",
    "temperature from own score": "DSL whose temperatures see the score of the positive and none of its competitors",
}


def _parts(arms: Mapping[str, list[Record]], lines: Mapping[str, list[Record]]) -> list[str]:
    """What is left of DSL without one of its parts, a sentence for each that has all its runs."""
    sentences = []
    for name, words in _PARTS.items():
        if found := arms.get(name):
            reached = tables.plus_minus([record.test[METRIC] for record in found])
            over_dsl, over_sl = (_both_metrics(found, lines[loss]) for loss in ("dsl", "softmax"))
            sentences.append(
                f"With {display_name('mf')} {words} reaches {reached}: beside DSL {over_dsl}; beside SL {over_sl}"
                " (uncorrected)."
            )
    return sentences


def _weaker_pull(arms: Mapping[str, list[Record]], lines: Mapping[str, list[Record]]) -> list[str]:
    """What a weight on the positive does for SL, beside the lines of the table; nothing while runs are missing."""
    curves = WeightCurves(
        {
            loss: {1.0: lines[loss]} | {c: arms[name] for c, name in weight_arms(loss).items() if name in arms}
            for loss in ("softmax", "dsl")
        }
    )
    if len(curves.of["softmax"]) <= len(weight_arms("softmax")):
        return []
    best, own = curves.best("softmax"), curves.best("dsl")
    found = curves.of["softmax"][best]
    fair = ""
    if own != 1:
        weighted = curves.of["dsl"][own]
        fair = (
            f" DSL with a weight of its own reaches {tables.plus_minus([record.test[METRIC] for record in weighted])}"
            f" at c = {own:g}, which validation takes of {len(curves.of['dsl'])}: beside SL with c = {best:g}"
            f" {_both_metrics(weighted, found)} (uncorrected)."
        )
    return [
        f"With {display_name('mf')} SL with a weight c on its positive, one line of code and everything else as it was,"
        f" reaches {tables.plus_minus([record.test[METRIC] for record in found])} at c = {best:g}, which validation"
        f" takes of {len(curves.of['softmax'])} weights: beside SL {_both_metrics(found, lines['softmax'])}; beside DSL"
        f" {_both_metrics(found, lines['dsl'])} (uncorrected; that such weights gain here was known from first looks)."
        + fair
    ]


def _bsl(states: list[State]) -> list[str]:
    """What BSL is where its search found another pull than SL's, and how it stands beside DSL there."""
    sentences = [said] if (said := pulls_of_bsl(states)) else []
    of_dsl = {_backbone(state): state.found for state in states if state.cell.loss == "dsl"}
    for state in states:
        backbone = _backbone(state)
        if state.cell.loss == "bsl" and backbone in of_dsl and pull_of_bsl(state) != 1:
            words = _both_metrics(state.found, of_dsl[backbone])
            sentences.append(f"With {display_name(backbone)} BSL beside DSL: {words} (uncorrected).")
    return sentences


def _shifted() -> list[str]:
    """What DSL, searched anew, has over SL on a shifted split of the same data; nothing while runs are missing."""
    study, protocol, table = _study(), protocol_of("paper"), "popularity-shift"
    compared = ("dsl", "softmax", MATCHED)
    cells = cells_of(protocol, table, datasets=[DATASET], backbones=["mf"], losses=compared)
    states = [state_of(study, cell) for cell in cells]
    lines = {state.cell.label: state.found for state in states if state.done}
    if not lines.keys() >= set(compared):
        return []
    dsl, sl, control = (tables.plus_minus([record.test[METRIC] for record in lines[label]]) for label in compared)
    of_table = protocol.of_table(table)
    chosen = chosen_settings(study, of_table, DATASET, split=of_table.split_of(table, DATASET))
    apart = ""
    if square := TwoScales.on_record(study, chosen, of_table):
        apart = f" Its two scales apart, beside SL at the same temperature: {square.alone()} ({metric_name(METRIC)})."
    back = [
        cell_label(state.cell.label)
        for state in states
        if state.trials and best_trial(state.trials).number == 0 and state.cell.label != MATCHED
    ]
    start = f" The searches of {' and '.join(back)} came back to the point that they were given." if back else ""
    return [
        "Under popularity shift (a split of the same data that is our own, every search anew) DSL with"
        f" {display_name('mf')} reaches {dsl}, SL {sl} and {cell_label(MATCHED)} {control}: DSL beside SL"
        f" {_both_metrics(lines['dsl'], lines['softmax'])}; beside {cell_label(MATCHED)}"
        f" {_both_metrics(lines['dsl'], lines[MATCHED])} (uncorrected).{start}{apart}"
    ]


def _both_metrics(found: Sequence[Record], reference: Sequence[Record]) -> str:
    """What some seeds have over others in every metric, over users, in words, and where other seeds may differ."""
    words = []
    for metric in reversed(tables.METRICS):
        each = beside(found, reference, metric=metric)
        said = f"{metric_name(metric)} {tables.between(each.relative, percent=True)}, {each.verdict} it"
        seeds = each.over_seeds
        if each.verdict != ALIKE and seeds is not None and seeds.low <= 0 <= seeds.high:
            said += f" (not so over seeds: {tables.between(seeds, percent=True)})"
        words.append(said)
    return " and ".join(words)


def _backbone(state: State) -> str:
    """The backbone of a line; what needs none stands with matrix factorization, as in the book."""
    return "mf" if state.cell.is_baseline else state.cell.backbone


def _beside_control(states: list[State]) -> list[str]:
    """DSL against the softmax loss at its temperature, a sentence for each backbone that has both."""
    sentences = []
    for backbone in dict.fromkeys(map(_backbone, states)):
        records = {
            s.cell.label: s.found for s in states if _backbone(s) == backbone and s.cell.label in ("dsl", MATCHED)
        }
        if len(records) == 2:
            sentences.append(
                f"With {display_name(backbone)} DSL beside {cell_label(MATCHED)}:"
                f" {_both_metrics(records['dsl'], records[MATCHED])} (uncorrected)."
            )
    return sentences


def _table(states: list[State]) -> str:
    """One line of Markdown for each cell, beside the tuned softmax loss of its backbone."""
    heads = ["backbone", "loss"]
    for metric in tables.METRICS:
        heads += [metric_name(metric), "published"]
    lines = [[*heads, f"{metric_name(METRIC)} beside tuned SL"]]
    lines.append(["---"] * len(lines[0]))
    for backbone in dict.fromkeys(map(_backbone, states)):
        group = [state for state in states if _backbone(state) == backbone]
        against = compare({state.cell.label: state.found for state in group}, metric=METRIC)
        for state in group:
            label = state.cell.label
            line = ["–" if state.cell.is_baseline else display_name(backbone), cell_label(label)]
            for metric in tables.METRICS:
                printed = published_value(DATASET, label, metric, backbone=backbone)
                line.append(tables.plus_minus([record.test[metric] for record in state.found]))
                line.append("–" if printed is None else f"{printed:.4f}")
            found = against.get(label)
            line.append("–" if found is None else f"{tables.between(found.relative, percent=True)}, {found.verdict} SL")
            lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
