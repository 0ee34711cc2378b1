"""Profiles: the one parameter that decides the size of everything (smoke, quick, paper)."""

from dataclasses import dataclass

from dslstudy.engine.config import require_one_of


@dataclass(frozen=True)
class Profile:
    """What a profile means.

    Attributes:
        name: ``smoke``, ``quick`` or ``paper``.
        dataset: the data set that chapters train on.
        seeds: seeds per setting.
        embedding_size: size of a vector.
        num_negatives: negatives per example.
        epochs: most epochs of a run.
        click_rows: most rows of a controlled world that is trained on.
        trains: data sets whose missing runs are trained when a notebook asks for them; others come from records.
    """

    name: str
    dataset: str
    seeds: tuple[int, ...]
    embedding_size: int
    num_negatives: int
    epochs: int
    click_rows: int
    trains: tuple[str, ...]


PROFILES = {
    "smoke": Profile(
        name="smoke",
        dataset="synthetic-ranking",
        seeds=(0, 1),
        embedding_size=16,
        num_negatives=32,
        epochs=3,
        click_rows=20_000,
        trains=("synthetic-ranking", "synthetic-clicks"),
    ),
    "quick": Profile(
        name="quick",
        dataset="movielens-100k",
        seeds=(0, 1, 2, 3, 4),
        embedding_size=64,
        num_negatives=200,
        epochs=60,
        click_rows=200_000,
        trains=("synthetic-ranking", "synthetic-clicks", "movielens-100k"),
    ),
    "paper": Profile(
        name="paper",
        dataset="amazon2014-health",
        seeds=(0, 1, 2, 3, 4),
        embedding_size=64,
        num_negatives=1000,
        epochs=200,
        click_rows=10**9,
        trains=(
            "synthetic-ranking",
            "synthetic-clicks",
            "movielens-1m",
            "tmall",
            "movielens-100k",
            "amazon2014-health",
            "amazon2014-electronic",
            "amazon2014-electronic-popularity",
            "amazon2014-cd",
            "amazon2014-cd-popularity",
            "gowalla",
            "gowalla-popularity",
        ),
    ),
}


def get_profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        InputError: there is none.
    """
    require_one_of("profile", name, PROFILES)
    return PROFILES[name]
