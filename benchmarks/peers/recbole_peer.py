"""RecBole as a contender: its BPR or LightGCN, trained epoch by epoch by its own Trainer."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed
from trial import Task, main


def write_atomic_files(task: Task, folder: Path) -> None:
    """The interactions in RecBole's own format; validation stands in for test, which nothing here looks at."""
    for name, pairs in (("train", task.train), ("valid", task.validation), ("test", task.validation)):
        lines = "\n".join(f"{user}\t{item}" for user, item in pairs.tolist())
        path = folder / "benchmark" / f"benchmark.{name}.inter"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"user_id:token\titem_id:token\n{lines}\n", encoding="utf-8")


class RecBole:
    """The contender."""

    runs = 1

    def __init__(self, task: Task) -> None:
        self.task, self.chunk = task, task.updates_per_epoch
        s = task.settings
        with tempfile.TemporaryDirectory() as folder:
            write_atomic_files(task, Path(folder))
            settings: dict[str, Any] = {
                "data_path": folder,
                "checkpoint_dir": folder,
                "benchmark_filename": ["train", "valid", "test"],
                "load_col": {"inter": ["user_id", "item_id"]},
                "embedding_size": s["embedding_size"],
                "learning_rate": s["learning_rate"],
                "weight_decay": s.get("weight_decay", 0.0),
                "train_batch_size": s["batch_size"],
                "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
                "eval_batch_size": 2**22,
                "eval_args": {"order": "RO", "group_by": "user", "mode": "full"},
                "metrics": ["NDCG", "Recall"],
                "topk": [20],
                "valid_metric": "NDCG@20",
                "use_gpu": task.device != "cpu",
                "state": "CRITICAL",
                "show_progress": False,
                "seed": task.seed,
                **s.get("own", {}),
            }
            config = Config(model=s["model"], dataset="benchmark", config_dict=settings)
            logging.disable(logging.CRITICAL)
            init_seed(task.seed, False)
            self.dataset = create_dataset(config)
            self.train_data, self.valid_data, _ = data_preparation(config, self.dataset)
            self.model = get_model(s["model"])(config, self.train_data.dataset).to(config["device"])
            self.trainer = Trainer(config, self.model)
            self.trainer.eval_collector.data_collect(self.train_data)
        self.epoch = 0

    def run(self, updates: int) -> None:
        for _ in range(updates // self.chunk):
            self.model.train()
            self.trainer._train_epoch(self.train_data, self.epoch)
            self.epoch += 1

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            if hasattr(self.model, "get_ego_embeddings"):  # a graph model: what its layers make of the embeddings
                both = self.model.forward()
            else:
                both = self.model.user_embedding.weight, self.model.item_embedding.weight
        sizes = {"user_id": self.task.num_users, "item_id": self.task.num_items}
        ordered = []
        for (field, size), table in zip(sizes.items(), both, strict=True):
            ours = self.dataset.field2id_token[field][1:].astype(np.int64)  # its first id is padding
            place = np.zeros((size, table.shape[1]), dtype=np.float32)
            place[ours] = table.detach().cpu().numpy()[1:]
            ordered.append(place[None])
        return ordered[0], ordered[1]

    def evaluate(self) -> int:
        self.result = self.trainer.evaluate(self.valid_data, load_best_model=False)
        return len(np.unique(self.task.validation[:, 0]))


if __name__ == "__main__":
    main(RecBole)
