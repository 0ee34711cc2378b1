"""The ledger itself: every claim of the two papers beside what the stores hold."""

from dslstudy.study.claims import Claim, Row
from dslstudy.study.click_claims import c2al_claims
from dslstudy.study.ranking_claims import baseline_claims, dsl_claims
from dslstudy.study.study import Study


def claims() -> list[Claim]:
    """Every claim of the ledger, DSL's first."""
    return [*dsl_claims(), *baseline_claims(), *c2al_claims()]


def ledger(study: Study) -> list[Row]:
    """All claims with what the stores of a study say about them; nothing is trained.

    Args:
        study: whose stores are read. Click runs are taken at the largest profile whose runs are there.
    """
    return [Row(claim, claim.measure(study)) for claim in claims()]
