"""Training with false negatives: items that a user likes are hidden and then drawn as her negatives (book: Noise).

The published protocol: a share of each user's training items is taken out of train, and each negative is, with some
probability, one of the user's hidden items. Nothing else changes: a probability of zero is the plain trainer on fewer
interactions, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dslstudy.data.interactions import Interactions
from dslstudy.data.splits import validation_cut
from dslstudy.engine import ranking
from dslstudy.engine.checkpoint import Checkpoint
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.memory import TooLargeError, is_out_of_memory, runs_that_fit
from dslstudy.engine.sampler import Positives, draw_negatives
from dslstudy.engine.stack import Place, Stack, TrainedRun, Validate, check_stack
from dslstudy.engine.streams import torch_seed
from dslstudy.errors import InputError

#: whether a negative is replaced, and by which hidden item: streams of their own, at the end of the negatives' place
_WHETHER, _WHICH = 1, 2
#: uniform numbers are whole numbers below this one
_FINE = 2**31


def hide(train: Interactions, fraction: float, *, seed: int) -> tuple[Interactions, Interactions]:
    """Take a share of each user's training items out of train.

    It is cut like a validation part: rounded to nearest, every user and every item stays known in train.

    Args:
        train: the training interactions.
        fraction: share of each user's items.
        seed: of the split; runs with different seeds have the same hidden items.

    Returns:
        What is left to train on, and what is hidden.

    Raises:
        InputError: the fraction is not in [0, 1).
    """
    # a seed of its own: the validation part was cut with the split's
    return validation_cut(train, fraction=fraction, seed=torch_seed(seed, "negatives"))


def with_false_negatives(
    negatives: Tensor, users: Tensor, hidden: Positives, probability: float, *, seed: int, place: Sequence[int]
) -> Tensor:
    """Put hidden items in the place of some negatives.

    Args:
        negatives: (B, N) items.
        users: (B,) whose negatives they are.
        hidden: the hidden items.
        probability: with which a negative is replaced by one of the user's hidden items, all of them equally likely.
            The negatives of a user without hidden items stay as they are.
        seed: of the run.
        place: where in the run the negatives are used; decides the random numbers together with the seed.

    Returns:
        (B, N); the input is left as it is.
    """
    if probability == 0:
        return negatives
    # the coins are below _FINE, so that probability 1 replaces every negative
    coins, numbers = (
        draw_negatives(_FINE, negatives.shape, seed, (*place, stream), negatives.device)
        for stream in (_WHETHER, _WHICH)
    )
    count, first = hidden.counts[users].unsqueeze(1), hidden.start[users].unsqueeze(1)
    chosen = first + (numbers.mul_(count) >> 31)
    # a user without hidden items has nowhere to look: any place will do, and it is not used
    items = hidden.items[chosen.clamp_(max=max(len(hidden) - 1, 0))] if len(hidden) else negatives
    return torch.where((coins < round(probability * _FINE)) & (count > 0), items, negatives)


class FalseNegativeStack(Stack):
    """A stack whose negatives are partly hidden items.

    Args:
        interactions: the training interactions without the hidden ones.
        hidden: the hidden interactions, over the same users and items.
        probability: with which a negative is one of its user's hidden items.
        runs: the runs, which agree on ``TrainingConfig.stack_key``.
        device: where it is trained.
        compile: ``auto``, ``always`` or ``never``: whether losses are compiled.

    Raises:
        InputError: the runs share negatives between the users of a batch, or the probability is not in [0, 1].
    """

    def __init__(
        self,
        interactions: Interactions,
        hidden: Interactions,
        probability: float,
        runs: Sequence[TrainedRun],
        device: torch.device,
        *,
        compile: str = "auto",
    ) -> None:
        check_false_negatives(runs[0].config, probability)
        self.hidden, self.probability = Positives(hidden, device), probability
        self._users = torch.empty(0)
        super().__init__(interactions, runs, device, compile=compile)

    def _step(self, users: Tensor, items: Tensor, place: Place) -> None:
        # set before any worker starts on the step, and read by all of them
        self._users = users
        super()._step(users, items, place)

    def draw(self, part: slice, place: Place, shape: tuple[int, ...], first: int = 0) -> Tensor:
        """Negatives (P, b, N), each run's from its own streams; ``first``: the first of the examples they are for."""
        drawn = super().draw(part, place, shape, first)
        if self.probability == 0:
            return drawn
        where = (place.epoch, place.step, first)
        users = self._users[part, first : first + shape[0]]

        def of_run(run: int, seed: int) -> Tensor:
            return with_false_negatives(drawn[run], users[run], self.hidden, self.probability, seed=seed, place=where)

        replaced = [  # runs of one seed see the same batches, so one of them draws for all
            self._once(("false negatives", seed, *where), lambda run=run, seed=seed: of_run(run, seed))
            for run, seed in enumerate(self._seeds(part))
        ]
        return replaced[0].unsqueeze(0) if len(replaced) == 1 else torch.stack(replaced)


def check_false_negatives(config: TrainingConfig, probability: float) -> None:
    """Refuse settings under which false negatives cannot be drawn.

    Raises:
        InputError: with what to change.
    """
    if not 0 <= probability <= 1:
        raise InputError(f"hidden_probability must be from 0 to 1, got {probability}")
    if config.negative_sampling != "example":
        raise InputError(
            "hidden items belong to one user, so a batch cannot share its negatives: use negative_sampling=example"
        )


def train_with_false_negatives(
    interactions: Interactions,
    hidden: Interactions,
    probability: float,
    configs: Sequence[TrainingConfig],
    validate: Validate,
    *,
    device: str = "cpu",
    progress: bool = True,
    compile: str = "auto",
    checkpoint: Checkpoint | None = None,
) -> list[TrainedRun]:
    """Like :func:`dslstudy.engine.ranking.train`, with false negatives among the negatives.

    It is resumed in the same way. Other than there, runs that run out of memory are not cut into smaller stacks.

    Args:
        interactions: the training interactions without the hidden ones.
        hidden: the hidden interactions.
        probability: with which a negative is one of its user's hidden items.
        configs: one configuration per run; they must agree on ``TrainingConfig.stack_key``.
        validate: scores the tables of the runs in flight, more is better (NDCG@20 on the validation cut).
        device: ``cpu``, ``cuda`` or ``auto``.
        progress: show a progress bar on standard error.
        compile: as in :func:`dslstudy.engine.ranking.train`.
        checkpoint: where the runs' states are kept while they are trained.

    Returns:
        One trained run per configuration, in their order. On the CPU the same seed gives the same bits.

    Raises:
        InputError: no interactions, configurations that cannot share a stack, shared negatives, a probability out of
            range, or a stack too large for the device.
    """
    if len(interactions) == 0:
        raise InputError("there are no training interactions")
    check_stack(configs)
    where, saved = ranking.training_device(device), {} if checkpoint is None else checkpoint.runs
    runs = [TrainedRun(config) for config in configs]
    for run in runs:
        ranking._recall(run, saved.get(ranking._key(run)))
    waiting = [run for run in runs if not ranking._finished(saved.get(ranking._key(run)))]
    fit = runs_that_fit(interactions.num_users, interactions.num_items, configs[0].embedding_size, where)
    for together in ranking._stacks(waiting, saved, fit):
        stack = FalseNegativeStack(interactions, hidden, probability, together, where, compile=compile)
        try:
            with stack:
                _to_the_end(stack, saved, validate, progress, checkpoint)
        except Exception as error:
            if not (isinstance(error, TooLargeError) or is_out_of_memory(error)):
                raise
            raise InputError(
                f"{len(together)} runs do not fit the memory of {where} together: ask for fewer at a time"
            ) from error
    return runs


def _to_the_end(
    stack: FalseNegativeStack, saved: dict, validate: Validate, progress: bool, checkpoint: Checkpoint | None
) -> None:
    runs, config = list(stack.active), stack.shared
    if ranking._key(runs[0]) in saved:
        stack.restore([saved[ranking._key(run)] for run in runs])
    title = f"{ranking._title(runs)}, false negatives {stack.probability:g}"
    epochs = range(stack.epoch_number + 1, config.epochs + 1)
    for epoch in tqdm(epochs, desc=title, unit="epoch", disable=not progress, leave=False):
        if not stack.active:
            break
        stack.epoch()
        if epoch % config.evaluate_every == 0 or epoch == config.epochs:
            stack.validate(validate)
        if checkpoint is not None and checkpoint.due:
            checkpoint.write(ranking._states(runs, stack))
    if checkpoint is not None:
        stack.keep([])
        checkpoint.write(ranking._states(runs, stack))
