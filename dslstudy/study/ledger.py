"""The ledger itself: every claim of the two papers beside what the stores hold."""

from collections.abc import Sequence

from tqdm.auto import tqdm

from dslstudy.study.claims import Claim, Row
from dslstudy.study.click_claims import c2al_claims
from dslstudy.study.ranking_claims import baseline_claims, dsl_claims
from dslstudy.study.study import Study


def claims() -> list[Claim]:
    """Every claim of the ledger, DSL's first."""
    return [*dsl_claims(), *baseline_claims(), *c2al_claims()]


def ledger(study: Study, chosen: Sequence[Claim] | None = None) -> list[Row]:
    """Claims with what the stores of a study say about them; nothing is trained.

    Args:
        study: whose stores are read. Click runs are taken at the largest profile whose runs are there.
        chosen: only these; all by default.
    """
    wanted = claims() if chosen is None else chosen
    bar = tqdm(wanted, desc="claims", disable=not study.progress, leave=False)
    return [Row(claim, claim.measure(study)) for claim in bar]
