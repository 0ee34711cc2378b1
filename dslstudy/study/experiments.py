"""The configurations behind the book's tables, each written down once."""

from typing import Any

from dslstudy.study.config import RunConfig
from dslstudy.study.profiles import Profile, get_profile

# The chapter "From BPR to the softmax loss". The largest number of negatives is also the one used elsewhere in it.
_TEMPERATURES = {
    "smoke": (0.1, 0.2),
    "quick": (0.05, 0.1, 0.2, 0.5),
    "paper": (0.05, 0.1, 0.2, 0.4, 0.8),
}
_NEGATIVES = {"smoke": (1, 32), "quick": (1, 10, 100), "paper": (1, 10, 100, 1000)}
#: the temperature published for Amazon Health, and within reach of the best one on MovieLens
TEMPERATURE = 0.2
#: seeds of a sweep: enough to see what chance does, few enough for a laptop
SWEEP_SEEDS = 3
# Steps small enough and epochs many enough that validation has levelled off; chosen on the validation part of seed 0.
_SOFTMAX: dict[str, dict[str, Any]] = {
    "smoke": {"batch_size": 256, "epochs": 3, "evaluate_every": 1, "patience": 3},
    "quick": {"batch_size": 1024, "epochs": 6, "evaluate_every": 2, "patience": 2},
    "paper": {"batch_size": 1024, "epochs": 200, "evaluate_every": 5, "patience": 5},
}
_BPR: dict[str, dict[str, Any]] = {
    "smoke": {"batch_size": 256, "epochs": 3, "evaluate_every": 1, "patience": 3, "learning_rate": 0.01},
    "quick": {
        "batch_size": 1024,
        "epochs": 14,
        "evaluate_every": 2,
        "patience": 3,
        "learning_rate": 0.01,
        "weight_decay": 5e-5,
    },
    "paper": {
        "batch_size": 1024,
        "epochs": 200,
        "evaluate_every": 5,
        "patience": 10,
        "learning_rate": 0.001,
        "weight_decay": 1e-4,
    },
}


def softmax_run(
    profile: Profile, *, temperature: float = TEMPERATURE, num_negatives: int | None = None, seed: int = 0
) -> RunConfig:
    """Matrix factorization with the softmax loss: cosines, unit normal start, Adam with step 0.1.

    Args:
        profile: decides data set and sizes.
        temperature: of the loss.
        num_negatives: negatives per example; the profile's usual number by default.
        seed: of the run.
    """
    return RunConfig(
        dataset=profile.dataset,
        embedding_size=profile.embedding_size,
        score="cosine",
        loss="softmax",
        loss_parameters={"temperature": temperature},
        learning_rate=0.1,
        num_negatives=num_negatives or _NEGATIVES[profile.name][-1],
        seed=seed,
        **_SOFTMAX[profile.name],
    )


def bpr_run(profile: Profile, *, num_negatives: int = 1, seed: int = 0) -> RunConfig:
    """Matrix factorization with BPR as its authors proposed it: inner products, a small start, one negative, L2.

    Args:
        profile: decides data set and sizes.
        num_negatives: negatives per example.
        seed: of the run.
    """
    return RunConfig(
        dataset=profile.dataset,
        embedding_size=profile.embedding_size,
        backbone_parameters={"initial_scale": 0.1},
        score="inner-product",
        loss="bpr",
        num_negatives=num_negatives,
        seed=seed,
        **_BPR[profile.name],
    )


def baseline_runs(profile: Profile, *, split: str = "default") -> dict[str, RunConfig]:
    """The recommenders that need no training; baseline -> its configuration."""
    return {
        name: RunConfig(dataset=profile.dataset, split=split, backbone=name, loss="none")
        for name in ("popularity", "item-knn", "ease")
    }


def loss_comparison(profile: Profile) -> dict[str, list[RunConfig]]:
    """BPR and the softmax loss with all seeds of a profile; loss -> configurations."""
    return {
        "bpr": [bpr_run(profile, seed=seed) for seed in profile.seeds],
        "softmax": [softmax_run(profile, seed=seed) for seed in profile.seeds],
    }


def temperature_sweep(profile: Profile) -> dict[float, list[RunConfig]]:
    """Temperature -> configurations of the softmax loss, one for each of the first seeds."""
    return {
        temperature: [softmax_run(profile, temperature=temperature, seed=seed) for seed in profile.seeds[:SWEEP_SEEDS]]
        for temperature in _TEMPERATURES[profile.name]
    }


def negatives_sweep(profile: Profile) -> dict[str, dict[int, list[RunConfig]]]:
    """Loss -> number of negatives -> configurations, one for each of the first seeds."""
    runs = {"bpr": bpr_run, "softmax": softmax_run}
    return {
        loss: {
            count: [run(profile, num_negatives=count, seed=seed) for seed in profile.seeds[:SWEEP_SEEDS]]
            for count in _NEGATIVES[profile.name]
        }
        for loss, run in runs.items()
    }


def health_reference_runs() -> dict[str, list[RunConfig]]:
    """The runs that the chapter *From BPR to the softmax loss* puts beside the published numbers on Amazon Health.

    Step size, weight decay and temperature are those of SL@K (KDD 2025), Table 11; 1000 negatives for the softmax loss,
    one for BPR; batches of 1024, validation every fifth of at most 200 epochs.

    Returns:
        Loss -> one configuration for each of five seeds.
    """
    return loss_comparison(get_profile("paper"))


#: the chapter "Speed": half the step of its suites, since noise that a batch shares has to average out over steps
SHARING_STEP = 0.05


def negative_sharing_runs() -> dict[str, list[RunConfig]]:
    """The runs with which the chapter *Speed* asks what it costs that the examples of a batch share their negatives.

    The softmax loss with 1000 negatives on Amazon Electronic, all else as in suite ``quality-electronic`` but the step,
    and trained until validation has not improved for twenty epochs.

    Returns:
        ``example`` and ``batch`` -> one configuration for each of five seeds.
    """
    paper = get_profile("paper")
    return {
        sampling: [
            RunConfig(
                dataset="amazon2014-electronic",
                embedding_size=paper.embedding_size,
                score="cosine",
                loss="softmax",
                loss_parameters={"temperature": TEMPERATURE},
                learning_rate=SHARING_STEP,
                batch_size=1024,
                num_negatives=_NEGATIVES["paper"][-1],
                negative_sampling=sampling,
                epochs=120,
                evaluate_every=5,
                patience=4,
                seed=seed,
            )
            for seed in paper.seeds
        ]
        for sampling in ("example", "batch")
    }


# The chapter "Backbones". A pass through a graph costs the same however few examples follow it, so batches are large.
_BACKBONES: dict[str, dict[str, Any]] = {
    "smoke": {"batch_size": 512, "epochs": 3, "evaluate_every": 1, "patience": 3, "learning_rate": 0.1},
    "quick": {"batch_size": 4096, "epochs": 5, "evaluate_every": 1, "patience": 5, "learning_rate": 0.3},
    "paper": {**_SOFTMAX["paper"], "learning_rate": 0.1},
}
# As published with the softmax loss: LightGCN has two layers; XSimGCL's InfoNCE has weight 0.2 on Amazon Health. On the
# small, dense data of the other profiles that drowns the ranking loss; they take the weight published for Electronic.
_CONTRAST_WEIGHT = {"smoke": 0.05, "quick": 0.05, "paper": 0.2}
_XSIMGCL: dict[str, Any] = {"layers": 3, "noise": 0.1, "contrast_layer": 1, "contrast_temperature": 0.1}


def backbone_run(profile: Profile, backbone: str, *, contrast_weight: float | None = None, seed: int = 0) -> RunConfig:
    """One backbone with the softmax loss, everything but the backbone as for the others.

    Args:
        profile: decides data set and sizes.
        backbone: ``mf``, ``lightgcn`` or ``xsimgcl``.
        contrast_weight: of XSimGCL's InfoNCE; the profile's usual weight by default.
        seed: of the run.
    """
    weight = _CONTRAST_WEIGHT[profile.name] if contrast_weight is None else contrast_weight
    parameters: dict[str, dict[str, Any]] = {
        "mf": {},
        "lightgcn": {"layers": 2},
        "xsimgcl": {**_XSIMGCL, "contrast_weight": weight},
    }
    return RunConfig(
        dataset=profile.dataset,
        backbone=backbone,
        backbone_parameters=parameters[backbone],
        embedding_size=profile.embedding_size,
        score="cosine",
        loss="softmax",
        loss_parameters={"temperature": TEMPERATURE},
        num_negatives=_NEGATIVES[profile.name][-1],
        seed=seed,
        **_BACKBONES[profile.name],
    )


def backbone_reference_runs() -> dict[str, list[RunConfig]]:
    """The runs that the chapter *Backbones* puts beside the published numbers on Amazon Health.

    The softmax loss with the step size, weight decay and temperature of SL@K (KDD 2025), Table 11; LightGCN with two
    layers, XSimGCL with three, noise 0.1 and InfoNCE of weight 0.2.

    Returns:
        Backbone -> one configuration for each of five seeds.
    """
    paper = get_profile("paper")
    return {
        backbone: [backbone_run(paper, backbone, seed=seed) for seed in paper.seeds]
        for backbone in ("lightgcn", "xsimgcl")
    }
