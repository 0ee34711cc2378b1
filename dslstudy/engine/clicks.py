"""The click trainer: every method from the same start, over the same batches (book: Does it help?).

Runs with equal seeds are paired. The shared encoder, the heads that a method adds and the order of the batches each
draw from a stream of their own, so a method that draws more changes nothing for the others. Only over-sampling, whose
whole point is another order, sees other batches.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, cos, isfinite, pi

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm.auto import tqdm

from dslstudy.c2al.method import Batch, Cohorts, Context, Method, prior_logit, random_stream
from dslstudy.c2al.methods import make_method
from dslstudy.data.click_logs import ClickLog, ClickSplit
from dslstudy.engine.config import require_count, require_number, require_one_of, require_seed
from dslstudy.engine.ranking import training_device
from dslstudy.errors import InputError
from dslstudy.models.fm_attention import FORMS, FMAttention

DECAYS = ("linear", "cosine", "constant")

#: called with the model in training, the batch whose step is about to be taken, and the number of steps taken so far
Probe = Callable[[nn.Module, Batch, int], None]

#: share of the steps in which the step size rises from nearly zero: large ones early can leave no hidden unit alive
WARMUP = 0.1

#: rows scored at a time when no gradients are needed
PREDICTION_ROWS = 16384


@dataclass(frozen=True, kw_only=True)
class ClickTrainingConfig:
    """One run of the click trainer.

    Attributes:
        embedding_size: size d of a feature's vector.
        attention_size: columns k of the attention.
        hidden: width of the hidden layers.
        layers: ensemble layers.
        form: ``fields`` or ``embedding``, see ``FMAttention``.
        method: name of the training method.
        method_parameters: its hyperparameters; what is left out takes the method's default.
        learning_rate: Adam's largest step size, reached after the first tenth of the steps.
        decay: how the step size goes to zero from there: ``linear`` or ``cosine``; or ``constant``.
        weight_decay: L2 coefficient of embeddings and matrices; biases and norms are free.
        batch_size: rows per step.
        epochs: passes over the training rows. Nothing stops earlier: with a step size that ends at zero the last
            parameters are the ones to use.
        seed: of initialisation and order.

    Raises:
        InputError: an unknown name, a number out of range, or a hyperparameter that the method does not have.
    """

    embedding_size: int = 16
    attention_size: int = 4
    hidden: int = 32
    layers: int = 1
    form: str = "fields"
    method: str = "plain"
    method_parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    learning_rate: float = 0.01
    decay: str = "linear"
    weight_decay: float = 1e-3
    batch_size: int = 1024
    epochs: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        require_one_of("form", self.form, FORMS)
        require_one_of("decay", self.decay, DECAYS)
        for name in ("embedding_size", "attention_size", "hidden", "layers", "batch_size", "epochs"):
            require_count(name, getattr(self, name))
        require_number("learning_rate", self.learning_rate, above=0)
        require_number("weight_decay", self.weight_decay, at_least=0)
        require_seed(self.seed)
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        object.__setattr__(self, "weight_decay", float(self.weight_decay))
        # one spelling per run: a default given or left out must give the same configuration
        object.__setattr__(self, "method_parameters", self.make_method().parameters())

    def make_method(self) -> Method:
        """The method with its hyperparameters."""
        return make_method(self.method, self.method_parameters)

    def encoder_options(self) -> dict[str, int | str]:
        """Keyword arguments of ``FMAttention``."""
        names = ("embedding_size", "attention_size", "hidden", "layers", "form")
        return {name: getattr(self, name) for name in names}

    def num_steps(self, rows: int) -> int:
        """Steps of a run over so many training rows."""
        return self.epochs * ceil(rows / self.batch_size)

    def step_size(self, step: int, steps: int) -> float:
        """Adam's step size in the given one of all steps, counted from 0: warm-up, then decay to zero."""
        warming = WARMUP * steps
        if step < warming:
            return self.learning_rate * (step + 1) / (warming + 1)
        done = (step - warming) / (steps - warming)
        factor = {"linear": 1 - done, "cosine": (1 + cos(pi * done)) / 2, "constant": 1.0}
        return self.learning_rate * factor[self.decay]


@dataclass
class TrainedClicks:
    """What a run leaves behind.

    Attributes:
        config: its configuration.
        model: the exported model, on the CPU.
        validation: (n,) float32 probabilities of a click for the validation rows.
        test: (n,) float32 for the test rows.
        history: one entry per epoch: ``epoch``, mean training ``loss`` (of the whole objective), ``validation_loss``
            (mean cross-entropy of the primary head), and ``validation`` if a metric was given.
        seconds: wall time of the training steps.
    """

    config: ClickTrainingConfig
    model: nn.Module
    validation: np.ndarray
    test: np.ndarray
    history: list[dict[str, float]]
    seconds: float


class Part:
    """One part of a split as tensors on a device."""

    def __init__(self, log: ClickLog, cohorts: Cohorts | None, device: torch.device) -> None:
        self.labels = torch.from_numpy(log.labels.astype(np.float32)).to(device)
        self.features = tuple(torch.from_numpy(feature.values.astype(np.int64)).to(device) for feature in log.features)
        if cohorts is None:
            nobody = torch.zeros(len(log), dtype=torch.bool)
            cohorts = Cohorts(nobody, nobody, torch.full((len(log),), -1), 0)
        if not len(cohorts.head) == len(cohorts.tail) == len(cohorts.cohort) == len(log):
            raise InputError(f"the cohorts are of {len(cohorts.head)} rows, the part has {len(log)}")
        self.cohorts = Cohorts(
            cohorts.head.to(device), cohorts.tail.to(device), cohorts.cohort.to(device), cohorts.num_cohorts
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> Batch:
        """The given rows."""
        return Batch(
            tuple(feature[rows] for feature in self.features),
            self.labels[rows],
            self.cohorts.head[rows],
            self.cohorts.tail[rows],
            self.cohorts.cohort[rows],
            rows,
        )


def train_clicks(
    split: ClickSplit,
    configs: Sequence[ClickTrainingConfig],
    *,
    cohorts: Mapping[str, Cohorts] | None = None,
    device: str = "cpu",
    progress: bool = True,
    validate: Callable[[np.ndarray, np.ndarray], float] | None = None,
    probe: Probe | None = None,
    probe_steps: Collection[int] | None = None,
) -> list[TrainedClicks]:
    """Train one model per configuration, one after the other.

    Args:
        split: training, validation and test rows.
        configs: what to train.
        cohorts: where the rows of ``train``, ``validation`` and ``test`` stand; needed by methods that know cohorts.
        device: ``cpu``, ``cuda`` or ``auto``.
        progress: show a progress bar on standard error.
        validate: a metric of labels and probabilities, computed on the validation rows after each epoch.
        probe: called before chosen steps with model, batch and number of steps taken; it must not change parameters.
        probe_steps: the steps before which it is called; None means all.

    Returns:
        One trained run per configuration, in their order. On the CPU the same seed gives the same bits.

    Raises:
        InputError: no training rows, no clicks or nothing but clicks, an empty cohort, a loss that is not finite.
    """
    where = training_device(device)
    parts = {
        name: Part(getattr(split, name), None if cohorts is None else cohorts[name], where)
        for name in ("train", "validation", "test")
    }
    _require_trainable(parts["train"], configs)
    with tqdm(total=sum(c.epochs for c in configs), unit="epoch", disable=not progress, leave=False) as bar:
        runs = []
        for config in configs:
            bar.set_description(f"clicks {config.method}")
            run = _Run(config, [feature.size for feature in split.train.features], parts, where)
            runs.append(run.train(bar, validate, probe, probe_steps))
    return runs


def _require_trainable(train: Part, configs: Sequence[ClickTrainingConfig]) -> None:
    if len(train) == 0:
        raise InputError("there are no training rows")
    clicks = int(train.labels.sum())
    if clicks in (0, len(train)):
        raise InputError(
            f"{clicks} of {len(train)} training rows are clicks: a model needs some of both; mend the label"
        )
    for config in configs:
        method = config.make_method()
        if method.needs_axis and not train.cohorts.num_cohorts:
            raise InputError(f"{config.method} needs the cohorts of an axis; choose one")
        if method.needs_pair:
            for name in ("head", "tail"):
                if not getattr(train.cohorts, name).any():
                    raise InputError(
                        f"{config.method} needs a {name} cohort, and no training row is in it; choose another pair"
                    )


class _Run:
    """One run: model, optimizer, order."""

    def __init__(
        self, config: ClickTrainingConfig, sizes: Sequence[int], parts: Mapping[str, Part], device: torch.device
    ) -> None:
        self.config, self.parts, self.device = config, parts, device
        self.part = parts["train"]
        self.method = config.make_method()
        self.context = Context(self.part.labels, self.part.cohorts, config.seed)
        encoder = FMAttention(sizes, **config.encoder_options(), generator=random_stream(config.seed, "encoder"))
        with torch.no_grad():
            encoder.head.bias.fill_(prior_logit(self.context.base_rate))
        heads = random_stream(config.seed, "heads")
        self.model = self.method.build(encoder, self.context, heads).to(device)
        # a penalty on a bias would pull the predicted base rate towards one half
        parameters = list(self.model.parameters())
        matrices = [parameter for parameter in parameters if parameter.dim() > 1]
        vectors = [parameter for parameter in parameters if parameter.dim() < 2]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors}]
        self.optimizer = torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        self.order = random_stream(config.seed, "order")
        self.weights = self.method.sample_weights(self.context)

    def batches(self) -> Iterator[Tensor]:
        """Rows of each batch of an epoch; drawn on the CPU, so that every device sees the same order."""
        if self.weights is None:
            rows = torch.randperm(len(self.part), generator=self.order)
        else:
            rows = torch.multinomial(self.weights.cpu(), len(self.part), replacement=True, generator=self.order)
        return iter(rows.to(self.device).split(self.config.batch_size))

    def train(
        self,
        bar: tqdm,
        validate: Callable[[np.ndarray, np.ndarray], float] | None,
        probe: Probe | None,
        probe_steps: Collection[int] | None,
    ) -> TrainedClicks:
        config, step, steps, seconds = self.config, 0, self.config.num_steps(len(self.part)), 0.0
        history = []
        for epoch in range(1, config.epochs + 1):
            total = torch.zeros((), device=self.device)
            self.model.train()
            for rows in self.batches():
                batch = self.part.batch(rows)
                if probe is not None and (probe_steps is None or step in probe_steps):
                    probe(self.model, batch, step)
                    self.optimizer.zero_grad()
                started = time.perf_counter()
                for group in self.optimizer.param_groups:
                    group["lr"] = config.step_size(step, steps)
                total += self.method.backward(self.model, batch) * len(rows)
                self.optimizer.step()
                self.optimizer.zero_grad()
                seconds += time.perf_counter() - started
                step += 1
            entry = {"epoch": epoch, "loss": (total / len(self.part)).item()}
            self._require_finite(entry["loss"], epoch)
            logits, labels = self.logits("validation"), self.parts["validation"].labels
            if len(labels):
                entry["validation_loss"] = binary_cross_entropy_with_logits(logits, labels).item()
                self._require_finite(entry["validation_loss"], epoch)
                if validate is not None:
                    entry["validation"] = float(validate(labels.cpu().numpy(), logits.sigmoid().cpu().numpy()))
                bar.set_postfix(validation_loss=f"{entry['validation_loss']:.4f}")
            history.append(entry)
            bar.update()
        validation, test = (self.logits(name).sigmoid().cpu().numpy() for name in ("validation", "test"))
        return TrainedClicks(config, self.method.export(self.model).cpu(), validation, test, history, seconds)

    def logits(self, name: str) -> Tensor:
        """Logits (n,) of the exported model for one part."""
        part, model = self.parts[name], self.method.export(self.model).eval()
        rows = torch.arange(len(part), device=self.device).split(PREDICTION_ROWS)
        with torch.no_grad():
            return torch.cat([model(self.method.inputs(part.batch(chunk))) for chunk in rows])

    def _require_finite(self, loss: float, epoch: int) -> None:
        if not isfinite(loss):
            raise InputError(
                f"the loss of {self.config.method} is not finite in epoch {epoch}; "
                f"take a learning rate below {self.config.learning_rate:g}"
            )
