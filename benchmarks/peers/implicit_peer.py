"""implicit as a contender: its BPR (stochastic gradient descent) or ALS (alternating least squares), in C++."""

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.evaluation import ranking_metrics_at_k
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits
from trial import Task, main


def matrix(pairs: np.ndarray, task: Task) -> csr_matrix:
    """Interactions as users x items."""
    ones = np.ones(len(pairs), dtype=np.float32)
    return csr_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(task.num_users, task.num_items))


class Implicit:
    """The contender."""

    runs = 1

    def __init__(self, task: Task) -> None:
        threadpool_limits(1, "blas")  # as implicit itself asks for: its own threads are the parallel ones
        self.task, self.chunk = task, task.updates_per_epoch
        self.train, self.validation = matrix(task.train, task), matrix(task.validation, task)
        s = task.settings
        common = {
            "factors": s["embedding_size"],
            "regularization": s["regularization"],
            "iterations": 0,
            "num_threads": task.threads,
            "random_state": task.seed,
        }
        if s["model"] == "als":
            self.model = AlternatingLeastSquares(alpha=s["alpha"], **common)
        else:
            self.model = BayesianPersonalizedRanking(learning_rate=s["learning_rate"], **common)
        self.model.fit(self.train, show_progress=False)

    def run(self, updates: int) -> None:
        self.model.iterations = updates // self.chunk  # a second fit goes on from where the first one ended
        self.model.fit(self.train, show_progress=False)

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self.model.user_factors)[None], np.asarray(self.model.item_factors)[None]

    def evaluate(self) -> int:
        self.result = ranking_metrics_at_k(
            self.model, self.train, self.validation, K=20, show_progress=False, num_threads=self.task.threads
        )
        return int((self.validation.getnnz(axis=1) > 0).sum())


if __name__ == "__main__":
    main(Implicit)
