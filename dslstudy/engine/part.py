"""One part of a stack in one step: from scores to losses and gradients, a share of the examples at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dslstudy.engine import log_sums
from dslstudy.engine.objectives import OBJECTIVES
from dslstudy.engine.sampler import Cells
from dslstudy.engine.scores import Batch, blocks_of, pick_scores, score_tables, scores_by_product, shared_scores
from dslstudy.losses import unchecked

if TYPE_CHECKING:
    from dslstudy.engine.stack import Place, Stack

#: on a CPU a batch is cut into shares of examples of at least so many scores, and into so many shares at most,
#: whatever the number of cores: sums must not depend on it
SHARE_SCORES, MOST_SHARES = 2**16, 4

#: losses (P, b) of a share and the gradients of positives, vectors and source, and the companion's
OfShare = tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]


@dataclass
class Part:
    """What the losses of one part are computed from, cut off from what the tables were made of."""

    stack: Stack
    part: slice
    place: Place
    users: Tensor  # (P, B)
    positive_items: Tensor  # (P, B)
    shared_negatives: Tensor | None  # (P, N)
    positive_vectors: Tensor  # (P, B, d)
    vectors: Tensor  # (P, B, d)
    source: Tensor  # (P, I, d) or, for shared negatives, (P, N, d): what the negatives' scores are products with
    cells: Cells

    def __post_init__(self) -> None:
        config = self.stack.shared
        self.positive = (self.vectors * self.positive_vectors).sum(dim=-1)  # (P, B)
        self.loss = self.stack.active[self.part.start].config.loss
        self.objective = OBJECTIVES[self.loss]
        self.words, self.numbers = self.stack.settings_of(self.part)
        self.companion, of_runs = self.stack.companion_of(self.part)
        self.moving = self.companion is not None and self.companion.moving
        self.variables = [] if self.companion is None else [value[of_runs] for value in self.companion.variables()]
        self.examples = self.positive.shape[1]
        # the last batch of an epoch is smaller; compiling for it would not pay
        self.compile = self.stack.compile and self.examples == config.batch_size
        self.unit_source = self.unit_positive = None
        if self.objective.uses_similarity:
            self.unit_source, self.unit_positive = self.source, self.positive_vectors
            if config.score != "cosine":
                self.unit_source, self.unit_positive = score_tables(self.source, self.positive_vectors, "cosine")

    def losses_and_gradients(self) -> OfShare:
        """Losses (P, B) and the gradients of their means: of positives, vectors, source, and the companion's."""
        if self.stack.fused and self.objective.fused is not None and self.words == self.objective.fused_words:
            return self._fused()
        spread, shares = self.stack.workers.spread, self._shares()
        if self.objective.per_example:
            compute = self._share
            config = self.stack.shared
            sampling = config.negative_sampling, self.stack.positives.num_items, config.num_negatives
            if in_cache(self.loss, *sampling, self.stack.device.type):
                compute = self._by_log_sums()
            losses, of_positive, of_vectors, of_source, of_variables = zip(*spread(compute, shares), strict=True)
        else:
            batches = spread(self._batch, shares)
            losses, of_positive, of_negatives = self._loss(_joined(batches))
            back = spread(
                lambda i: self._back(batches[i], of_negatives[:, shares[i]].contiguous()), list(range(len(shares)))
            )
            losses, of_positive, of_variables = (losses,), (of_positive,), ([],)
            of_vectors, of_source = zip(*back, strict=True)
        return (
            torch.cat(losses, 1),
            torch.cat(of_positive, 1),
            torch.cat(of_vectors, 1),
            _total(of_source),
            [_total(of_variable) for of_variable in zip(*of_variables, strict=True)],
        )

    def _fused(self) -> OfShare:
        """The same by the fused kernel, which makes the positives' scores by itself."""
        vectors, source = self.vectors.requires_grad_(), self.source.requires_grad_()
        negatives = self.stack.draw(self.part, self.place, (self.examples, self.stack.shared.num_negatives))
        keywords = dict(self.numbers)
        if self.unit_source is not None and self.stack.shared.score != "cosine":
            keywords["item_directions"] = self.unit_source.detach()
        losses = self.objective.fused(
            vectors, source, self.positive_items, negatives, mask=~self.cells.contains(negatives), **keywords
        )
        gradients = torch.autograd.grad(losses.sum() / self.examples, (vectors, source))
        return losses.detach(), torch.zeros_like(self.positive), *gradients, []

    def _shares(self) -> list[slice]:
        shares = 1
        if self.stack.device.type == "cpu":
            scores = self.examples * self.stack.shared.num_negatives
            shares = min(max(scores // SHARE_SCORES, 1), MOST_SHARES, self.examples)
        cuts = [self.examples * i // shares for i in range(shares + 1)]
        return [slice(start, stop) for start, stop in pairwise(cuts)]

    def _by_log_sums(self) -> Callable[[slice], OfShare]:
        """What computes a share without ever holding its scores."""
        # as columns they multiply faster
        columns, inverse = self.source.mT.contiguous(), 1.0 / self.numbers["temperature"]
        shifted = not log_sums.bounded(self.stack.shared.score, inverse)
        numbers = {name: value.view(-1, 1) for name, value in self.numbers.items()}
        runs, width, _ = self.source.shape

        def compute(share: slice) -> OfShare:
            negatives, cells, size = self._negatives(share), self._cells(share), share.stop - share.start
            if self.shared_negatives is not None:
                places, blocks = self.stack.places_among(self.part, share, negatives, cells), [slice(0, size)]
                exponentiate = log_sums.shared(columns, places, shifted=shifted)
            else:
                blocks = blocks_of(size, runs * width * columns.element_size(), columns.device)
                if shifted or width > log_sums.COUNT_LIMIT * self.stack.shared.num_negatives:
                    exponentiate = log_sums.picked(columns, negatives, cells, shifted=shifted)
                else:
                    exponentiate = log_sums.counted(columns, self.stack.counts(self.part, share, negatives, cells))
            users, positive = self.users[:, share], self.positive[:, share]

            def keywords(block: slice) -> dict[str, Tensor]:
                if self.companion is None:
                    return numbers
                return numbers | self.companion.keywords(self.variables, users[:, block], negatives)

            finish = log_sums.finishing(self.objective.of_log_sum, positive, self.examples, keywords)
            vectors = self.vectors[:, share]
            return *log_sums.through_log_sums(vectors, self.source, inverse, exponentiate, finish, blocks), []

        return compute

    def _share(self, share: slice) -> OfShare:
        batch = self._batch(share)
        losses, of_positive, of_negatives, *of_variables = self._loss(batch, share)
        return losses, of_positive, *self._back(batch, of_negatives), of_variables

    def _negatives(self, share: slice) -> Tensor:
        """Which items (P, b, N) a share's negatives are, or (P, N) if the batch shares them."""
        if self.shared_negatives is not None:
            return self.shared_negatives
        shape = (share.stop - share.start, self.stack.shared.num_negatives)
        return self.stack.draw(self.part, self.place, shape, share.start)

    def _cells(self, share: slice) -> Cells:
        """The training items of a share's users."""
        if share == slice(0, self.examples):
            return self.cells
        return self.stack.cells_of_share(self.part, self.cells, share)

    def _batch(self, share: slice) -> Batch:
        """The scores of a share of the examples, with a graph that leads back to its vectors and to the source."""
        cells = self._cells(share)
        vectors, source = self.vectors[:, share].detach().requires_grad_(), self.source.detach().requires_grad_()
        pick, negatives = pick_scores, self._negatives(share)
        if self.shared_negatives is not None:
            pick = partial(shared_scores, places=lambda: self.stack.places_among(self.part, share, negatives, cells))
        similarity = None
        if self.unit_source is not None:
            similarity = pick(self.unit_positive[:, share], self.unit_source, negatives)
        scores = pick(vectors, source, negatives, cells)
        mask = self.stack.mask(self.part, share, scores, vectors, source)
        return Batch(self.positive[:, share], scores, mask, similarity, (vectors, source))

    def _loss(self, batch: Batch, share: slice | None = None) -> tuple[Tensor, ...]:
        """Losses (P, b) and the gradients of their sum over B: of positives, negatives, and the companion's."""
        batch = Batch(
            batch.positive.detach().requires_grad_(),
            batch.negatives.detach().requires_grad_(),
            batch.mask,
            batch.similarity,
        )
        variables, carried = self.variables, {}
        if self.companion is not None:
            if self.moving:
                variables = [value.detach().requires_grad_() for value in variables]
            carried = self.companion.keywords(variables, self.users[:, share], self._negatives(share))
        with unchecked():  # validate() looks for losses that are not finite, once per validation
            losses = self.objective(batch, self.numbers, self.words, compile=self.compile, carried=carried)
        wanted = batch.positive, batch.negatives, *(variables if self.moving else ())
        return losses.detach(), *torch.autograd.grad(losses.sum() / self.examples, wanted)

    def _back(self, batch: Batch, of_negatives: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(batch.negatives, batch.sources, of_negatives)


def in_cache(loss: str, sampling: str, num_items: int, num_negatives: int, device: str) -> bool:
    """Whether a loss goes from scores to gradients in a core's cache (``dslstudy.engine.log_sums``)."""
    if OBJECTIVES[loss].of_log_sum is None or device != "cpu":
        return False
    return sampling == "batch" or scores_by_product(num_items, num_negatives, device)


def _total(of_shares: Sequence[Tensor]) -> Tensor:
    """The sum of the shares' gradients, in their order."""
    total = of_shares[0]
    for of_share in of_shares[1:]:
        total = total.add_(of_share)
    return total


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    similarity = None
    if batches[0].similarity is not None:
        similarity = torch.cat([batch.similarity for batch in batches], dim=1)
    return Batch(
        torch.cat([batch.positive for batch in batches], dim=1),
        torch.cat([batch.negatives.detach() for batch in batches], dim=1),
        torch.cat([batch.mask for batch in batches], dim=1),
        similarity,
    )
