"""The engine of this study as a contender: a stack of R runs, trained together."""

import itertools
from typing import Any

import numpy as np
import torch
from trial import Task, main

from dslstudy.data.interactions import Interactions
from dslstudy.engine import scores
from dslstudy.engine.config import TrainingConfig
from dslstudy.engine.part import in_cache
from dslstudy.engine.ranking import Stack, TrainedRun
from dslstudy.metrics.topk import RankingEvaluator

#: where each way of scoring per-example negatives is used: items per negative, from which on they are gathered
PATHS = {"product": 10**9, "gather": 0}


def configurations(settings: dict[str, Any], seed: int) -> list[TrainingConfig]:
    """One configuration per run. Several runs are a search: temperatures and learning rates around the given ones."""
    settings = dict(settings)
    runs, rate = settings.pop("runs", 1), settings.pop("learning_rate")
    temperature = settings.pop("temperature", None)
    rates = [rate * 2.0**-power for power in range(-(-runs // 4))]
    grid = itertools.islice(itertools.product(rates, (1.0, 0.75, 1.25, 1.5)), runs)
    return [
        TrainingConfig(
            learning_rate=of_rate,
            loss_parameters={} if temperature is None else {"temperature": temperature * factor},
            epochs=10_000,  # a long training, so that the engine compiles what it compiles for those
            seed=seed,
            **settings,
        )
        for of_rate, factor in grid
    ]


class Engine:
    """The contender."""

    chunk = 1

    def __init__(self, task: Task) -> None:
        self.task = task
        settings, kind = dict(task.settings), task.device.partition(":")[0]
        if "path" in settings:
            scores.PRODUCT_LIMIT[kind] = PATHS[settings.pop("path")]
        sizes = {"num_users": task.num_users, "num_items": task.num_items}
        self.interactions, self.validation = (
            Interactions.with_ids(pairs[:, 0], pairs[:, 1], **sizes) for pairs in (task.train, task.validation)
        )
        self.configs = configurations(settings, task.seed)
        self.runs = len(self.configs)
        self.stack = Stack(self.interactions, [TrainedRun(c) for c in self.configs], torch.device(task.device))
        self.evaluator: RankingEvaluator | None = None
        self.final = self.score_tables() if task.mode == "evaluate" else None

    def run(self, updates: int) -> None:
        self.stack.steps(updates)

    def close(self) -> None:
        self.stack.close()

    def score_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Tables (R, U, d), (R, I, d) on the device."""
        with torch.no_grad():
            return scores.score_tables(*self.stack.backbone.inference_tables(), self.configs[0].score)

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        users, items = (table.detach().cpu().numpy() for table in self.score_tables())
        return users, items

    def evaluate(self) -> int:
        # what is made once per training run, and used after every epoch, is made once here, too
        if self.evaluator is None:
            self.evaluator = RankingEvaluator(self.validation.csr(), self.interactions.csr(), device=self.task.device)
        return sum(len(result.users) for result in self.evaluator.evaluate(*self.final))

    def facts(self) -> dict[str, Any]:
        """What the chapter needs to know to set the speed against the machine's ceilings."""
        first, kind = self.configs[0], self.task.device.partition(":")[0]
        width, by_product = first.num_negatives, False
        if first.negative_sampling == "example":
            by_product = scores.scores_by_product(self.task.num_items, first.num_negatives, kind)
            width = self.task.num_items if by_product else width
        multiplied = by_product or first.negative_sampling == "batch"
        # such losses do without the compiler
        without = in_cache(first.loss, first.negative_sampling, self.task.num_items, first.num_negatives, kind)
        size = first.embedding_size
        values = (self.task.num_users + self.task.num_items) * size
        of_device = {"device_memory_mb": torch.cuda.max_memory_allocated() / 2**20} if kind == "cuda" else {}
        return of_device | {
            "compiled": self.stack.compile and not without,
            "path": "product" if multiplied else "gather",
            "product_limit": scores.PRODUCT_LIMIT[kind],
            # a product of (B, d) with (d, width), and two of that size backwards
            "gigaflops_per_update": 6e-9 * self.runs * first.batch_size * width * size,
            # Adam reads a parameter, its gradient and two moments, and writes all but the gradient, float32
            "least_gigabytes_per_update": 28e-9 * self.runs * values,
        }


if __name__ == "__main__":
    main(Engine)
