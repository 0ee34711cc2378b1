"""Cornac as a contender: its BPR, stochastic gradient descent in C++ on all threads."""

import cornac
import numpy as np
from cornac.eval_methods.base_method import ranking_eval
from cornac.metrics import NDCG, Recall
from cornac.models import BPR
from trial import Task, main


def data_set(pairs: np.ndarray, task: Task) -> cornac.data.Dataset:
    """Interactions with their ids as they are."""
    users, items = ({i: i for i in range(size)} for size in (task.num_users, task.num_items))
    triples = pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32), np.ones(len(pairs), dtype=np.float32)
    return cornac.data.Dataset(task.num_users, task.num_items, users, items, triples, seed=task.seed)


class Cornac:
    """The contender."""

    runs = 1

    def __init__(self, task: Task) -> None:
        self.task, self.chunk = task, task.updates_per_epoch
        self.train, self.validation = data_set(task.train, task), data_set(task.validation, task)
        rng, size = np.random.default_rng(task.seed), task.settings["embedding_size"]
        # a start of ours, in the law of its own, so that it goes on where the last epoch ended
        self.parameters = {
            "U": ((rng.random((task.num_users, size)) - 0.5) / size).astype(np.float32),
            "V": ((rng.random((task.num_items, size)) - 0.5) / size).astype(np.float32),
            "Bi": np.zeros(task.num_items, dtype=np.float32),
        }
        self.model = self.of_epochs(0)
        self.model.fit(self.train)

    def of_epochs(self, epochs: int) -> BPR:
        """A model that goes on from the parameters at hand."""
        s = self.task.settings
        return BPR(
            k=s["embedding_size"],
            max_iter=epochs,
            learning_rate=s["learning_rate"],
            lambda_reg=s["regularization"],
            num_threads=self.task.threads,
            init_params=self.parameters,
        )

    def run(self, updates: int) -> None:
        self.model = self.of_epochs(updates // self.chunk)
        self.model.fit(self.train)
        self.parameters = {"U": self.model.u_factors, "V": self.model.i_factors, "Bi": self.model.i_biases}

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        users, items, bias = self.model.u_factors, self.model.i_factors, self.model.i_biases
        ones = np.ones((len(users), 1), dtype=np.float32)
        return np.concatenate([users, ones], axis=1)[None], np.concatenate([items, bias[:, None]], axis=1)[None]

    def evaluate(self) -> int:
        _, of_users = ranking_eval(
            self.model, [NDCG(k=20), Recall(k=20)], self.train, self.validation, rating_threshold=0.5
        )
        return len(of_users[0])


if __name__ == "__main__":
    main(Cornac)
