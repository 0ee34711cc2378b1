"""The configurations behind the book's tables, each written down once."""

from dslstudy.study.config import RunConfig

#: seeds of every committed comparison
SEEDS = (0, 1, 2, 3, 4)


def health_reference_runs() -> dict[str, list[RunConfig]]:
    """The runs that the chapter *From BPR to the softmax loss* puts beside the published numbers on Amazon Health.

    Step size, weight decay and temperature are those of SL@K (KDD 2025), Table 11. The softmax loss compares cosines
    and starts from unit normal entries; BPR compares inner products, which need a small start, with one negative for
    each positive, as its authors proposed it. Validation every fifth of at most 200 epochs.

    Returns:
        Loss -> one configuration for each seed.
    """
    softmax = [
        RunConfig(
            dataset="amazon2014-health",
            score="cosine",
            loss="softmax",
            loss_parameters={"temperature": 0.2},
            learning_rate=0.1,
            batch_size=1024,
            num_negatives=1000,
            epochs=200,
            evaluate_every=5,
            patience=5,
            seed=seed,
        )
        for seed in SEEDS
    ]
    bpr = [
        RunConfig(
            dataset="amazon2014-health",
            backbone_parameters={"initial_scale": 0.1},
            score="inner-product",
            loss="bpr",
            learning_rate=0.001,
            weight_decay=1e-4,
            batch_size=1024,
            num_negatives=1,
            epochs=200,
            evaluate_every=5,
            patience=10,
            seed=seed,
        )
        for seed in SEEDS
    ]
    return {"softmax": softmax, "bpr": bpr}
