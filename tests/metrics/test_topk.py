import math
from functools import partial

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_matrix

from dslstudy.errors import InputError
from dslstudy.metrics.topk import RankingEvaluator, _top_items

CUTOFFS = (1, 3, 10)


def brute_force(scores, relevant, exclude, cutoffs):
    """user -> name -> value, by sorting Python lists."""
    result = {}
    for user in range(len(scores)):
        wanted = {item for item, is_relevant in enumerate(relevant[user]) if is_relevant}
        if not wanted:
            continue
        candidates = [item for item in range(len(scores[user])) if not exclude[user][item]]
        ranking = sorted(candidates, key=lambda item: (-scores[user][item], item))
        result[user] = {}
        for k in cutoffs:
            hits = [rank for rank, item in enumerate(ranking[:k], start=1) if item in wanted]
            ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
            result[user] |= {
                f"ndcg@{k}": sum(1 / math.log2(rank + 1) for rank in hits) / ideal,
                f"recall@{k}": len(hits) / len(wanted),
                f"precision@{k}": len(hits) / k,
                f"mrr@{k}": 1 / hits[0] if hits else 0.0,
                f"hit_rate@{k}": float(bool(hits)),
            }
    return result


def agree(metrics, expected):
    assert list(metrics.users) == sorted(expected)
    names = set(next(iter(expected.values())))
    assert set(metrics.values) == names
    for name in names:
        oracle = [expected[user][name] for user in metrics.users]
        np.testing.assert_allclose(metrics.values[name], oracle, rtol=1e-12, atol=0)
        assert metrics.mean()[name] == pytest.approx(np.mean(oracle))


@st.composite
def worlds(draw):
    """Few distinct scores, so ties are everywhere; labels 1 relevant, 2 excluded."""
    users, items = draw(st.integers(1, 7)), draw(st.integers(1, 12))
    labels = draw(hnp.arrays(np.int8, (users, items), elements=st.integers(0, 2)))
    labels[draw(st.integers(0, users - 1)), draw(st.integers(0, items - 1))] = 1
    scores = draw(hnp.arrays(np.float32, (users, items), elements=st.sampled_from([-1.5, -1, 0, 0.25, 2])))
    return scores, labels == 1, labels == 2


@given(worlds(), st.sampled_from([None, 1, 2, 5]))
def test_metrics_equal_a_ranking_by_hand_with_ties_and_few_candidates(world, block_size):
    scores, relevant, exclude = world
    evaluator = RankingEvaluator(csr_matrix(relevant), csr_matrix(exclude), cutoffs=CUTOFFS, block_size=block_size)
    agree(
        evaluator.evaluate_scores(lambda users: scores[users]),
        brute_force(scores.tolist(), relevant, exclude, CUTOFFS),
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([None, 1, 3]))
def test_every_run_of_a_stack_equals_a_ranking_by_hand(seed, runs, block_size):
    rng = np.random.default_rng(seed)
    users, items, size = rng.integers(1, 9), rng.integers(2, 30), rng.integers(1, 4)
    # small integers: exact products, many ties
    user_tables = torch.from_numpy(rng.integers(-2, 3, (runs, users, size)).astype(np.float32))
    item_tables = torch.from_numpy(rng.integers(-2, 3, (runs, items, size)).astype(np.float32))
    labels = rng.choice(3, (users, items), p=[0.6, 0.2, 0.2])
    labels[0, 0] = 1
    evaluator = RankingEvaluator(
        csr_matrix(labels == 1), csr_matrix(labels == 2), cutoffs=CUTOFFS, block_size=block_size
    )
    results = evaluator.evaluate(user_tables, item_tables)
    assert len(results) == runs
    for run, metrics in enumerate(results):
        scores = (user_tables[run] @ item_tables[run].T).tolist()
        agree(metrics, brute_force(scores, labels == 1, labels == 2, CUTOFFS))


@given(st.integers(0, 2**32 - 1))
def test_metrics_equal_pytrec_eval(seed):
    rng = np.random.default_rng(seed)
    users, items = 12, 40
    labels = rng.choice(3, (users, items), p=[0.7, 0.15, 0.15])
    labels[:, 0] = 1
    scores = rng.permuted(np.tile(np.arange(items, dtype=np.float32), (users, 1)), axis=1)
    cutoffs = (5, 10, 20)
    metrics = RankingEvaluator(csr_matrix(labels == 1), csr_matrix(labels == 2), cutoffs=cutoffs).evaluate_scores(
        lambda users: scores[users]
    )

    truth = {str(u): {str(i): 1 for i in np.flatnonzero(labels[u] == 1)} for u in range(users)}
    for k in cutoffs:
        run = {}
        for u in range(users):
            candidates = np.flatnonzero(labels[u] != 2)
            best = candidates[np.argsort(-scores[u, candidates])][:k]
            run[str(u)] = {str(i): float(scores[u, i]) for i in best}
        theirs = {
            "ndcg": f"ndcg_cut_{k}",
            "recall": f"recall_{k}",
            "precision": f"P_{k}",
            "mrr": "recip_rank",
            "hit_rate": f"success_{k}",
        }
        measures = {f"ndcg_cut.{k}", f"recall.{k}", f"P.{k}", "recip_rank", f"success.{k}"}
        judged = pytrec_eval.RelevanceEvaluator(truth, measures).evaluate(run)
        for ours, name in theirs.items():
            np.testing.assert_allclose(metrics.values[f"{ours}@{k}"], [judged[str(u)][name] for u in range(users)])


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 50)), elements=st.integers(-2, 2)),
    st.integers(1, 50),
)
def test_top_items_order_by_score_then_by_id(scores, depth):
    depth = min(depth, scores.shape[1])
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    np.testing.assert_array_equal(_top_items(torch.from_numpy(scores), depth).numpy(), expected)


def random_world(users=300, items=200, runs=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, (users, items), p=[0.9, 0.04, 0.06])
    tables = [torch.from_numpy(rng.standard_normal((runs, n, 8)).astype(np.float32)) for n in (users, items)]
    return partial(RankingEvaluator, csr_matrix(labels == 1), csr_matrix(labels == 2), cutoffs=(5, 20)), *tables


def test_a_run_alone_gives_the_same_bits_as_in_a_stack():
    make, users, items = random_world()
    evaluator = make()
    stacked = evaluator.evaluate(users, items)
    for run in range(len(users)):
        (alone,) = evaluator.evaluate(users[run : run + 1], items[run : run + 1])
        for name, values in alone.values.items():
            np.testing.assert_array_equal(values, stacked[run].values[name])


def test_a_subset_of_users_gets_the_values_it_has_among_all():
    make, users, items = random_world(runs=1)
    everyone = make().evaluate(users, items)[0]
    chosen = np.array([250, 3, 77])
    some = make(users=chosen, block_size=2).evaluate(users, items)[0]
    np.testing.assert_array_equal(some.users, chosen)
    for name in some.values:
        np.testing.assert_allclose(some.values[name], everyone.values[name][np.searchsorted(everyone.users, chosen)])


def test_inputs_are_left_unchanged():
    make, users, items = random_world(runs=1)
    scores = np.ascontiguousarray((users[0] @ items[0].T).numpy())
    before, relevant, exclude = scores.copy(), *(matrix.copy() for matrix in make.args)
    make().evaluate_scores(lambda users: scores[users[0] : users[-1] + 1])
    make(users=np.arange(300)).evaluate_scores(lambda users: torch.from_numpy(scores)[users])
    np.testing.assert_array_equal(scores, before)
    assert (relevant != make.args[0]).nnz == (exclude != make.args[1]).nnz == 0


def test_tables_of_a_model_in_training_do_not_record_gradients():
    make, users, items = random_world(runs=2)
    users.requires_grad_()
    assert len(make().evaluate(users, items)) == 2


def test_memory_stays_bounded_by_the_block(monkeypatch):
    make, users, items = random_world(runs=3)
    monkeypatch.setattr("dslstudy.metrics.topk._CPU_BLOCK_BYTES", 4 * 200 * 7)
    sizes = []
    product = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b, **kwargs: (sizes.append(a.shape), product(a, b, **kwargs))[1])
    make().evaluate(users, items)
    assert max(runs * rows for runs, rows, _ in sizes) == 7


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_scores_that_are_not_finite_name_the_run(bad):
    make, users, items = random_world(runs=3)
    users[1, 17, 2] = bad
    with pytest.raises(InputError, match=r"run 1 .*user 17"):
        make().evaluate(users, items)


def test_scores_of_a_baseline_that_are_not_finite_name_the_user():
    make, users, items = random_world(runs=1)
    scores = users[0] @ items[0].T
    scores[42, 3] = -torch.inf
    with pytest.raises(InputError, match="user 42"):
        make(block_size=10).evaluate_scores(lambda users: scores[users])


def test_bad_input_is_refused_with_a_reason():
    one = csr_matrix(np.array([[1, 0, 0], [0, 0, 0]]))
    evaluator = RankingEvaluator(one, one * 0)
    with pytest.raises(InputError, match=r"both relevant and excluded.*user 0, item 0"):
        RankingEvaluator(one, one)
    with pytest.raises(InputError, match="exclude is"):
        RankingEvaluator(one, one.T.tocsr())
    with pytest.raises(InputError, match="no user has a relevant item"):
        RankingEvaluator(one * 0, one)
    with pytest.raises(InputError, match="no user has a relevant item"):
        RankingEvaluator(one, users=[1])
    for cutoffs in [(), (0,), (2.5,), (5, 5)]:
        with pytest.raises(InputError, match="cutoffs"):
            RankingEvaluator(one, cutoffs=cutoffs)
    for users in [[2], [-1], [0, 0]]:
        with pytest.raises(InputError, match="users must be"):
            RankingEvaluator(one, users=users)
    for users in [np.array([True, False]), [0.5], ["0"]]:
        with pytest.raises(InputError, match="users must be ids, whole numbers"):
            RankingEvaluator(one, users=users)
    with pytest.raises(InputError, match="both must be of one dtype"):
        evaluator.evaluate(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4, dtype=torch.float64))
    with pytest.raises(InputError, match="block_size"):
        RankingEvaluator(one, block_size=0)
    with pytest.raises(InputError, match="leading axis"):
        evaluator.evaluate(torch.zeros(2, 4), torch.zeros(3, 4))
    with pytest.raises(InputError, match="do not fit"):
        evaluator.evaluate(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))
    with pytest.raises(InputError, match="score_block returned shape"):
        evaluator.evaluate_scores(lambda users: np.zeros((len(users), 2)))
