"""Searches: as many trials as asked, each kept; killed and started again, the same proposals, nothing trained twice."""

import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.errors import InputError
from dslstudy.study import RunConfig, open_study
from dslstudy.study.search import Search, Trial, _path, best_trial, found_trials, run_search
from dslstudy.study.spaces import OF_RUN, SPACES, STARTS, size_of, space_of
from dslstudy.study.study import DivergedError, Study

sys.path.insert(0, str(Path(__file__).parent))
import killed

BASE = {"dataset": "synthetic-ranking", "embedding_size": 8, "num_negatives": 16, "batch_size": 256, "epochs": 2}


def search_of(loss="softmax", **changes):
    return Search(base=RunConfig(**BASE, loss=loss), **{"trials": 6, "sampler": "random", "round_size": 2} | changes)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    return open_study("smoke", store=tmp_path / "store", progress=False)


@pytest.mark.parametrize("loss", SPACES)
def test_every_point_of_a_space_is_a_run_of_its_loss(loss):
    search = Search(base=RunConfig(**BASE, loss=loss), start=STARTS[loss])
    for name, values in SPACES[loss].items():
        for value in values:
            config = search.run_of(STARTS[loss] | {name: value})
            assert (getattr(config, name) if name in OF_RUN else config.loss_parameters[name]) == value
            assert config.loss == loss


@pytest.mark.parametrize("loss", ["softmax", "dsl"])
@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_as_many_trials_as_asked_each_with_its_record(study, sampler, loss):
    search = search_of(loss, sampler=sampler, trials=4)
    trials = run_search(study, search)
    assert [trial.number for trial in trials] == list(range(4))
    assert len({str(trial.parameters) for trial in trials}) == 4
    for trial in trials:
        assert all(value in SPACES[loss][name] for name, value in trial.parameters.items())
        assert trial.record.config == search.run_of(trial.parameters) == trial.config
    assert best_trial(trials).value == max(trial.record.validation["ndcg@20"] for trial in trials)
    assert found_trials(study, search) == trials


def test_a_small_space_is_searched_to_its_end(study):
    only = {"learning_rate": (0.1,), "temperature": (0.1, 0.2), "weight_decay": (0.0,)}
    trials = run_search(study, search_of(only=only, trials=9))
    assert sorted(trial.parameters["temperature"] for trial in trials) == [0.1, 0.2]
    assert size_of(space_of("softmax", only)) == 2


def test_a_round_is_trained_as_one_stack(study, monkeypatch):
    stacks, train = [], Study._train
    monkeypatch.setattr(Study, "_train", lambda self, configs: stacks.append(len(configs)) or train(self, configs))
    run_search(study, search_of(trials=7, round_size=3))
    assert stacks == [3, 3, 1]
    run_search(study, search_of(trials=7, round_size=3))
    assert stacks == [3, 3, 1]


def test_more_trials_go_on_from_fewer(study):
    few = run_search(study, search_of(trials=2))
    many = run_search(study, search_of(trials=4))
    assert many[:2] == few


def test_a_stale_trial_is_trained_again_and_its_proposal_stays(study, monkeypatch):
    search = search_of(trials=2)
    before = run_search(study, search)
    monkeypatch.setattr("dslstudy.study.study.code_fingerprint", lambda config: "another-code")
    monkeypatch.setattr("dslstudy.study.provenance.code_fingerprint", lambda config: "another-code")
    assert [trial.record.stale for trial in found_trials(study, search)] == [True, True]
    after = run_search(study, search)
    assert [trial.parameters for trial in after] == [trial.parameters for trial in before]
    assert [trial.record.stale for trial in after] == [False, False]


def test_a_diverged_run_is_a_failed_trial_and_is_not_tried_again(study, monkeypatch):
    train, seen = Study._train, []

    def diverging(self, configs):
        seen.extend(config.key for config in configs)
        hot = [config for config in configs if config.learning_rate == 0.1]
        models = train(self, [config for config in configs if config not in hot])
        if hot:
            raise DivergedError(hot)
        return models

    monkeypatch.setattr(Study, "_train", diverging)
    only = {"learning_rate": (0.1, 0.01), "weight_decay": (0.0,), "temperature": (0.1, 0.2)}
    trials = run_search(study, search_of(only=only, trials=4, round_size=4))
    assert {trial.failed for trial in trials if trial.config.learning_rate == 0.1} == {True}
    assert all(trial.record is not None for trial in trials if trial.config.learning_rate == 0.01)
    assert all(trial.done for trial in trials)
    assert best_trial(trials).config.learning_rate == 0.01
    tried = list(seen)
    run_search(study, search_of(only=only, trials=4, round_size=4))
    assert seen == tried


def test_a_committed_search_is_read_and_can_go_on(study, tmp_path):
    search = search_of(trials=2)
    committed = open_study("smoke", store=tmp_path / "committed", progress=False)
    trials = run_search(committed, search)
    assert [t.parameters for t in found_trials(study, search)] == [t.parameters for t in trials]
    assert found_trials(study, search)[0].record.path.is_relative_to(tmp_path / "committed")
    before = {path: path.read_bytes() for path in (tmp_path / "committed" / "search").iterdir()}
    more = run_search(study, search_of(trials=4))
    assert [t.parameters for t in more[:2]] == [t.parameters for t in trials]
    assert before == {path: path.read_bytes() for path in (tmp_path / "committed" / "search").iterdir()}


def test_killed_again_and_again_it_ends_like_one_left_in_peace(tmp_path, monkeypatch):
    monkeypatch.setenv("DSLSTUDY_RESULTS", str(tmp_path / "committed"))
    whole = killed.start(killed.search, tmp_path, "whole")
    whole.join(120)
    assert whole.exitcode == 0
    kills = 0
    for moment in (1, 5, 4):  # after so many new lines of the log: within rounds and between them
        before = len(killed.words(tmp_path, "killed"))
        process = killed.start(killed.search, tmp_path, "killed")
        while process.is_alive() and len(killed.words(tmp_path, "killed")) < before + moment:
            time.sleep(0.001)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 2
    last = killed.start(killed.search, tmp_path, "killed")
    last.join(120)
    assert last.exitcode == 0
    of = {
        name: found_trials(open_study("smoke", store=tmp_path / name, progress=False), killed.the_search())
        for name in ("whole", "killed")
    }
    assert len(of["whole"]) == 7
    assert [t.parameters for t in of["killed"]] == [t.parameters for t in of["whole"]]
    for one, other in zip(of["killed"], of["whole"], strict=True):
        assert (one.record.history, one.record.test) == (other.record.history, other.record.test)
    log = killed.words(tmp_path, "killed")
    stored = [key for word, key in log if word == "stored"]
    assert len(stored) == len(set(stored))
    for place, (word, key) in enumerate(log):  # what has a record is not trained again
        assert not (word == "train" and ("stored", key) in log[:place])


values = st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12)


def _trials(values):
    """Trials with these validations; on test the order is the other way round."""
    return [
        Trial(n, {}, None, None if v is None else SimpleNamespace(validation={"ndcg@20": v}, test={"ndcg@20": 1 - v}))
        for n, v in enumerate(values)
    ]


@given(values)
def test_the_best_trial_is_the_first_with_the_best_validation(found):
    best = None
    for number, value in enumerate(found):
        if value is not None and (best is None or value > found[best]):
            best = number
    if best is None:
        with pytest.raises(InputError, match="no trial of this search has a record"):
            best_trial(_trials(found))
    else:
        assert best_trial(_trials(found)).number == best


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials"),
        ({"round_size": 0}, "round_size"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"start": STARTS["softmax"] | {"temprature": 1.0}}, "did you mean 'temperature'"),
        ({"start": STARTS["softmax"] | {"temperature": 0.3}}, "has temperature 0.3; the space has"),
        ({"start": {"temperature": 0.2}}, "has no learning_rate"),
        ({"only": {"temperature": (0.3,)}}, "no value of temperature is left"),
    ],
)
def test_searches_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        search_of(**changes)
    with pytest.raises(InputError, match="loss with a search space"):
        space_of("none")


def outcomes(trials):
    return [(trial.number, trial.parameters, trial.value) for trial in trials]


def test_whichever_journal_knows_more_is_gone_on_with(study, tmp_path):
    search = search_of(trials=4)
    committed = open_study("smoke", store=tmp_path / "committed", progress=False)
    run_search(study, search_of(trials=2))  # begun here
    found = outcomes(run_search(committed, search))  # and finished elsewhere since
    assert outcomes(found_trials(study, search)) == found
    own = _path(study.store.root, search)
    own.write_bytes(b"")  # nothing is known here: no reason to write
    assert outcomes(found_trials(study, search)) == found
    assert own.read_bytes() == b""
    assert outcomes(run_search(study, search)) == found
    assert own.read_bytes() == _path(committed.store.root, search).read_bytes()
    more = outcomes(run_search(study, search_of(trials=6)))
    assert (len(more), more[:4]) == (6, found)
    assert outcomes(found_trials(study, search_of(trials=6))) == more  # now this machine's knows more


def test_a_damaged_journal_says_so(study):
    search = search_of(trials=2)
    run_search(study, search)
    path = _path(study.store.root, search)
    first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([first[:10] + "\n", *rest]), encoding="utf-8")
    with pytest.raises(InputError, match=r"journal.*is damaged.*delete it"):
        found_trials(study, search)
    path.write_text("garbage{\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"journal.*is damaged.*delete it"):
        found_trials(study, search)
    assert path.read_text(encoding="utf-8") == "garbage{\n", "whoever looks leaves it as it is"


def test_a_store_that_cannot_be_made_is_said_before_anything_is_trained(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        open_study("smoke", store=tmp_path / "file")
    study = open_study("smoke", store=tmp_path / "file" / "below", progress=False)
    monkeypatch.setattr("dslstudy.study.study.split_of", None)  # no data are loaded
    sealed = open_study("smoke", store="/proc", progress=False)  # a folder that nobody may write to
    assert Path("/proc").is_dir(), "this test needs Linux"
    with pytest.raises(InputError, match="cannot write to the store /proc"):
        sealed.obtain([RunConfig(**BASE)])
    for attempt in (lambda: run_search(study, search_of()), lambda: study.obtain([RunConfig(**BASE)])):
        with pytest.raises(InputError, match="cannot write to the store"):
            attempt()


def test_something_else_in_the_place_of_the_journals_is_said(study):
    study.store.root.mkdir(parents=True, exist_ok=True)
    (study.store.root / "search").write_text("")
    with pytest.raises(InputError, match=r"cannot write to the store .*search"):
        run_search(study, search_of())
