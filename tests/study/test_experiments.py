"""The book's experiments: pages that show the same runs must ask for the same runs."""

import pytest

from dslstudy.data.published import NAMES_IN_PRINT, published
from dslstudy.names import display_name, metric_name
from dslstudy.study import PROFILES
from dslstudy.study.experiments import (
    SWEEP_SEEDS,
    TEMPERATURE,
    backbone_reference_runs,
    backbone_run,
    baseline_runs,
    loss_comparison,
    negative_sharing_runs,
    negatives_sweep,
    softmax_run,
    temperature_sweep,
)


def keys(configs):
    return [config.key for config in configs]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_sweeps_and_comparison_share_their_runs(profile):
    compared, by_count = loss_comparison(profile), negatives_sweep(profile)
    first = {loss: keys(configs)[:SWEEP_SEEDS] for loss, configs in compared.items()}
    assert keys(temperature_sweep(profile)[TEMPERATURE]) == first["softmax"]
    assert keys(by_count["softmax"][max(by_count["softmax"])]) == first["softmax"]
    assert keys(by_count["bpr"][1]) == first["bpr"]
    assert softmax_run(profile).key == first["softmax"][0]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_runs_of_a_comparison_differ_in_nothing_but_the_seed(profile):
    for configs in loss_comparison(profile).values():
        assert [config.seed for config in configs] == list(profile.seeds)
        assert len({str(config.to_dict() | {"seed": None}) for config in configs}) == 1
        assert {config.dataset for config in configs} == {profile.dataset}


def test_negatives_per_example_and_shared_differ_in_nothing_but_that():
    runs = negative_sharing_runs()
    assert list(runs) == ["example", "batch"]
    for example, batch in zip(*runs.values(), strict=True):
        assert (example.negative_sampling, batch.negative_sampling) == ("example", "batch")
        assert example.to_dict() | {"negative_sampling": "batch"} == batch.to_dict()


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_backbones_differ_in_nothing_but_the_backbone(profile):
    runs = [backbone_run(profile, backbone) for backbone in ("mf", "lightgcn", "xsimgcl")]
    rest = {str(run.to_dict() | {"backbone": None, "backbone_parameters": None}) for run in runs}
    assert len(rest) == 1
    assert [run.backbone for run in runs] == ["mf", "lightgcn", "xsimgcl"]


def test_reference_runs_of_the_backbones_are_those_of_the_papers():
    runs = backbone_reference_runs()
    paper = PROFILES["paper"]
    assert backbone_run(paper, "mf").key == softmax_run(paper).key
    for backbone, configs in runs.items():
        assert [config.seed for config in configs] == list(paper.seeds)
        assert {config.dataset for config in configs} == {"amazon2014-health"}
        printed = published("hyperparameters").query(
            "dataset == 'amazon-health' and loss == 'SL' and backbone == @name",
            local_dict={"name": NAMES_IN_PRINT[backbone]},
        )
        assert printed.lr.item() == configs[0].learning_rate
        assert printed.weight_decay.item() == configs[0].weight_decay
        assert printed.other.item() == f"tau={configs[0].loss_parameters['temperature']:g}"
    assert runs["lightgcn"][0].backbone_parameters == {"layers": 2}
    assert runs["xsimgcl"][0].backbone_parameters == {
        "layers": 3, "noise": 0.1, "contrast_layer": 1, "contrast_temperature": 0.1, "contrast_weight": 0.2,
    }  # fmt: skip


def test_baselines_take_the_split_that_is_asked_for():
    runs = baseline_runs(PROFILES["quick"], split="popularity-shift")
    assert list(runs) == ["popularity", "item-knn", "ease"]
    assert {run.split for run in runs.values()} == {"popularity-shift"}
    assert all(run.is_baseline for run in runs.values())


def test_names_in_text():
    assert [display_name(name) for name in ("softmax", "item-knn", "my own")] == ["SL", "Item-kNN", "my own"]
    assert [metric_name(name) for name in ("ndcg@20", "hit_rate@5", "mrr")] == ["NDCG@20", "Hit rate@5", "MRR"]
