"""A training step the way research code writes it: look up N embeddings for every example, then compare.

Two formulations of the same function, chosen by the setting `formulation`:

* `cosine`: `cosine_similarity` of each user's vector with the gathered vectors of her negatives, as is usual.
* `matmul`: the best that gathering allows. The tables are normalised once, so that no vector is normalised a thousand
  times over, and a batched matrix product replaces the elementwise one.

Everything else is as usual, too: a table of which user knows which item masks accidental positives, the loss is the
mean of `logsumexp`, `torch.optim.Adam` takes the step.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, embedding, normalize
from trial import Task, main


class MatrixFactorization(nn.Module):
    """One vector per user and item."""

    def __init__(self, num_users: int, num_items: int, embedding_size: int) -> None:
        super().__init__()
        self.user_embedding = nn.Embedding(num_users, embedding_size)
        self.item_embedding = nn.Embedding(num_items, embedding_size)

    def cosine(self, users: Tensor, items: Tensor) -> Tensor:
        """Cosines (B, n) of users (B,) with their items (B, n)."""
        u = self.user_embedding(users)
        return cosine_similarity(u.unsqueeze(1), self.item_embedding(items), dim=-1)

    def matmul(self, users: Tensor, items: Tensor) -> Tensor:
        """The same from normalised tables and a batched product."""
        u = embedding(users, normalize(self.user_embedding.weight, dim=-1))
        v = embedding(items, normalize(self.item_embedding.weight, dim=-1))
        return torch.bmm(v, u.unsqueeze(-1)).squeeze(-1)


def softmax_loss(positive: Tensor, negatives: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Mean over examples of log sum_j exp((s_uj - s_ui) / temperature) over the negatives that are none of the user's.

    Args:
        positive: (B, 1) scores.
        negatives: (B, N) scores.
        known: (B, N) bool, True for an accidental positive.
        temperature: of the softmax.
    """
    logits = ((negatives - positive) / temperature).masked_fill(known, -torch.inf)
    return logits.logsumexp(dim=-1).mean()


class Gather:
    """The contender: model, optimizer, an order of the examples, and one step after another."""

    chunk = 1
    runs = 1

    def __init__(self, task: Task) -> None:
        torch.manual_seed(task.seed)
        self.task, self.device = task, torch.device(task.device)
        s = task.settings
        self.model = MatrixFactorization(task.num_users, task.num_items, s["embedding_size"]).to(self.device)
        self.score = getattr(self.model, s["formulation"])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=s["learning_rate"])
        self.train = torch.from_numpy(task.train.astype(np.int64)).to(self.device)
        self.known = torch.zeros(task.num_users, task.num_items, dtype=torch.bool, device=self.device)
        self.known[self.train[:, 0], self.train[:, 1]] = True
        self.batches = iter(())

    def run(self, updates: int) -> None:
        for _ in range(updates):
            self.step(self.next_batch())
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def next_batch(self) -> Tensor:
        """Users and positives (B, 2) of the next batch; a new order when an epoch is over."""
        for batch in self.batches:
            return batch
        order = torch.randperm(len(self.train), device=self.device)
        self.batches = iter(self.train[order].split(self.task.settings["batch_size"]))
        return next(self.batches)

    def step(self, batch: Tensor) -> None:
        """Sample, score, differentiate, take a step."""
        s = self.task.settings
        users, positives = batch.unbind(dim=1)
        negatives = torch.randint(self.task.num_items, (len(users), s["num_negatives"]), device=self.device)
        known = self.known[users.unsqueeze(1), negatives]
        loss = softmax_loss(
            self.score(users, positives.unsqueeze(1)), self.score(users, negatives), known, s["temperature"]
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            weights = (self.model.user_embedding.weight, self.model.item_embedding.weight)
            users, items = (normalize(weight, dim=-1)[None].cpu().numpy() for weight in weights)
        return users, items

    def evaluate(self) -> int:
        """A matrix product for each batch of users, `topk`, then a loop over the users."""
        relevant: dict[int, set[int]] = {}
        for user, item in self.task.validation.tolist():
            relevant.setdefault(user, set()).add(item)
        users = torch.tensor(sorted(relevant), device=self.device)
        user_table, item_table = (torch.from_numpy(table[0]).to(self.device) for table in self.tables())
        discount = 1 / np.log2(np.arange(2, 22))
        ndcg, recall = [], []
        for batch in users.split(1024):
            scores = (user_table[batch] @ item_table.T).masked_fill(self.known[batch], -torch.inf)
            for user, top in zip(batch.tolist(), scores.topk(20).indices.tolist(), strict=True):
                hits = np.array([item in relevant[user] for item in top])
                ndcg.append((hits * discount).sum() / discount[: len(relevant[user])].sum())
                recall.append(hits.sum() / len(relevant[user]))
        self.ndcg, self.recall = float(np.mean(ndcg)), float(np.mean(recall))
        return len(users)

    def facts(self) -> dict[str, float]:
        """Memory of the device, which the process's own does not show."""
        if self.device.type != "cuda":
            return {}
        return {"device_memory_mb": torch.cuda.max_memory_allocated() / 2**20}


if __name__ == "__main__":
    main(Gather)
