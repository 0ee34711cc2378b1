"""Explicit-loop oracles, one example at a time in Python floats, written from the formulas; and one case per loss."""

import math
from dataclasses import dataclass

import torch

from dslstudy import losses


def log_sum_exp(values):
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def bpr(positive, negatives):
    costs = [max(s - positive, 0.0) + math.log1p(math.exp(-abs(s - positive))) for s in negatives]
    return math.fsum(costs) / len(costs)


def softmax(positive, negatives, temperature):
    return log_sum_exp([(s - positive) / temperature for s in negatives])


def bsl(positive, negatives, positive_temperature, temperature):
    return -positive / positive_temperature + log_sum_exp([s / temperature for s in negatives])


def positive_weight(positive, negatives, temperature, weight):
    return log_sum_exp([s / temperature for s in negatives]) - weight * positive / temperature


def label_smoothing(positive, negatives, temperature, share):
    """Cross-entropy between smoothed labels and the softmax over the negatives' scores, label by label."""
    cost = -(1 - share) * positive / temperature
    cost -= math.fsum(share / len(negatives) * s / temperature for s in negatives)
    return cost + log_sum_exp([s / temperature for s in negatives])


def loss_reweighting(positives, negatives, temperature, strength):
    """Weights and weighted losses of a batch; examples without negatives get None."""
    plain = [softmax(s, row, temperature) if row else None for s, row in zip(positives, negatives, strict=True)]
    live = [value for value in plain if value is not None]
    z = iter(z_scores(live)) if live else iter(())
    raw = [None if value is None else math.exp(strength * min(3.0, max(-3.0, next(z)))) for value in plain]
    mean = math.fsum(w for w in raw if w is not None) / max(len(live), 1)
    weights = [None if w is None else w / mean for w in raw]
    return weights, [None if w is None else w * value for w, value in zip(weights, plain, strict=True)]


def psl(positive, negatives, temperature, activation, epsilon=2.0**-52):
    sigma = {"relu": lambda x: max(0.0, x + 1), "tanh": lambda x: math.tanh(x) + 1, "atan": lambda x: math.atan(x) + 1}
    return log_sum_exp([math.log(max(sigma[activation]((s - positive) / 2), epsilon)) / temperature for s in negatives])


def slatk(positive, negatives, temperature, weight_temperature, quantile):
    return softmax(positive, negatives, temperature) / (1 + math.exp(-(positive - quantile) / weight_temperature))


def advinfonce(positive, negatives, hardness, temperature, negative_weight):
    terms = [
        math.log(negative_weight) + h + (s - positive) / temperature for s, h in zip(negatives, hardness, strict=True)
    ]
    return log_sum_exp([0.0, *terms])


def llpauc(positive, negatives, state, alpha, beta, smoothing):
    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    def hinge(x):
        return log_sum_exp([0.0, smoothing * x]) / smoothing

    a, b, gamma, s_plus, s_minus = state
    f = sigmoid(positive)
    loss = -s_plus - hinge(-((f - a) ** 2 - 2 * (1 + gamma) * f) - s_plus) / alpha - gamma**2
    for s in negatives:
        f = sigmoid(s)
        loss += (s_minus + hinge((f - b) ** 2 + 2 * (1 + gamma) * f - s_minus) / beta) / len(negatives)
    return loss


def z_scores(values):
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    if max(values) - min(values) < 1e-12 * max(1.0, max(map(abs, values))):
        return [0.0] * len(values)
    return [(v - mean) / deviation for v in values]


def dsl(positives, negatives, similarity, *, temperature, alpha, beta, gamma, slate_size, reading="R1"):
    """Per-example lists kappa, slate (sets of positions), intensity, tau, loss; examples without negatives get None."""
    live = [i for i, row in enumerate(negatives) if row]
    kappas, slates, intensities = {}, {}, {}
    for i in live:
        margins = [s - positives[i] for s in negatives[i]]
        exponents = [alpha * h + beta * c for h, c in zip(z_scores(margins), z_scores(similarity[i]), strict=True)]
        norm = log_sum_exp(exponents)
        kappas[i] = [len(margins) * math.exp(e - norm) for e in exponents]
        strength = [d + temperature * math.log(k) for d, k in zip(margins, kappas[i], strict=True)]
        slates[i] = sorted(range(len(margins)), key=lambda j: -strength[j])[:slate_size]
        chosen = [margins[j] for j in slates[i]]
        if reading == "R3":
            scaled = [d / temperature for d in chosen]
            intensities[i] = temperature * (log_sum_exp(scaled) - math.log(len(chosen)))
        elif reading == "R3-entropy":
            scaled = [d / temperature for d in chosen]
            logs = [x - log_sum_exp(scaled) for x in scaled]
            intensities[i] = -math.fsum(math.exp(x) * x for x in logs)
        else:
            intensities[i] = math.fsum(chosen) / len(chosen)
    z = dict(zip(live, z_scores([intensities[i] for i in live]), strict=True)) if live else {}
    weight = {i: math.exp(gamma * min(3.0, max(-3.0, z[i]))) for i in live}
    taus = {i: temperature * weight[i] * len(live) / math.fsum(weight.values()) for i in live}
    loss = {}
    for i in live:
        margins = [s - positives[i] for s in negatives[i]]
        if reading == "R2":
            loss[i] = log_sum_exp([k * d / taus[i] for k, d in zip(kappas[i], margins, strict=True)])
        elif reading == "R5":
            terms = [math.log(k) + s / taus[i] for k, s in zip(kappas[i], negatives[i], strict=True)]
            loss[i] = -positives[i] / temperature + log_sum_exp(terms)
        else:
            loss[i] = log_sum_exp([math.log(k) + d / taus[i] for k, d in zip(kappas[i], margins, strict=True)])
    every = range(len(positives))
    return [[found.get(i) for i in every] for found in (kappas, slates, intensities, taus, loss)]


def real(row, mask_row):
    """The entries of a row that the mask keeps, as Python floats."""
    return [value for value, keep in zip(row.tolist(), mask_row.tolist(), strict=True) if keep]


def by_example(oracle, positive, negatives, mask, *companions):
    """The oracle on each example of (B,), (B, N), with its real negatives; zero without any."""
    result = []
    for i, score in enumerate(positive.tolist()):
        rows = [real(tensor[i], mask[i]) for tensor in (negatives, *companions)]
        result.append(oracle(score, *rows) if rows[0] else 0.0)
    return torch.tensor(result, dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """A loss, the input it needs besides the scores (one number per negative), and three settings of it."""

    function: object
    settings: tuple
    companion: str | None = None

    def __call__(self, positive, negatives, companion, mask=None, settings=None):
        inputs = dict(self.settings[0] if settings is None else settings)
        if self.companion:
            inputs[self.companion] = companion
        return self.function(positive, negatives, mask=mask, **inputs)


def state(a=0.7, b=0.2, gamma=0.1, s_plus=0.4, s_minus=0.6, dtype=torch.float64):
    made = losses.LLPAUCState(() if isinstance(a, float) else tuple(torch.as_tensor(a).shape)).to(dtype)
    with torch.no_grad():
        made.a.copy_(torch.as_tensor(a, dtype=dtype))
        made.b.copy_(torch.as_tensor(b, dtype=dtype))
        made.gamma.copy_(torch.as_tensor(gamma, dtype=dtype))
        made.positive_threshold.copy_(torch.as_tensor(s_plus, dtype=dtype))
        made.negative_threshold.copy_(torch.as_tensor(s_minus, dtype=dtype))
    return made


def _dsl_settings(**words):
    return tuple(
        {"temperature": t, "alpha": a, "beta": b, "gamma": g, "slate_size": m} | words
        for t, a, b, g, m in ((0.2, -0.3, 0.2, 0.2, 3), (0.5, 0.4, 0.0, -0.6, 1), (1.0, 0.0, -0.7, 1.5, 40))
    )


def _settings(*names):
    return tuple(
        dict(zip(names, values, strict=False)) for values in ((0.2, 1.0, 0.1), (0.5, 0.25, -0.4), (1.0, 2.0, 0.3))
    )


CASES = {
    "bpr": Case(losses.bpr_loss, ({}, {}, {})),
    "softmax": Case(losses.softmax_loss, _settings("temperature")),
    "bsl": Case(losses.bsl_loss, _settings("temperature", "positive_temperature")),
    "positive_weight": Case(losses.positive_weight_loss, _settings("temperature", "weight")),
    "label_smoothing": Case(
        losses.label_smoothing_loss,
        tuple({"temperature": t, "label_smoothing": share} for t, share in ((0.2, 0.1), (0.5, -0.4), (1.0, 1.0))),
    ),
    "loss_reweighting": Case(
        losses.loss_reweighting_loss,
        tuple({"temperature": t, "strength": strength} for t, strength in ((0.2, -0.2), (0.5, 0.9), (1.0, 0.0))),
    ),
    "psl-relu": Case(losses.psl_loss, tuple(s | {"activation": "relu"} for s in _settings("temperature"))),
    "psl-tanh": Case(losses.psl_loss, tuple(s | {"activation": "tanh"} for s in _settings("temperature"))),
    "psl-atan": Case(losses.psl_loss, tuple(s | {"activation": "atan"} for s in _settings("temperature"))),
    "slatk": Case(losses.slatk_loss, _settings("temperature", "weight_temperature", "quantile")),
    "advinfonce": Case(losses.advinfonce_loss, _settings("temperature", "negative_weight"), "hardness"),
    "llpauc": Case(
        losses.llpauc_loss,
        (
            {"alpha": 0.7, "beta": 0.1, "smoothing": 5.0, "state": state()},
            {"alpha": 1.0, "beta": 0.5, "smoothing": 9.0, "state": state(0.1, 0.9, -0.05, -0.3, 1.7)},
            {"alpha": 0.2, "beta": 1.0, "smoothing": 2.0, "state": state(0.5, 0.5, 0.8, 2.0, 0.1)},
        ),
    ),
    "blind_slate": Case(losses.blind_slate_loss, _dsl_settings(), "item_similarity"),
    "own_score": Case(
        losses.own_score_loss,
        tuple({name: value for name, value in s.items() if name != "slate_size"} for s in _dsl_settings()),
        "item_similarity",
    ),
    "dsl_positive_weight": Case(
        losses.dsl_positive_weight_loss,
        tuple(s | {"weight": c} for s, c in zip(_dsl_settings(), (0.8, 1.0, 1.7), strict=True)),
        "item_similarity",
    ),
} | {
    f"dsl-{reading}": Case(losses.dsl_loss, _dsl_settings(reading=reading), "item_similarity")
    for reading in losses.READINGS
}


def stack(settings):
    """Three settings as one, with a leading axis of three runs."""
    stacked = {}
    for name in settings[0]:
        values = [setting[name] for setting in settings]
        if name in ("reading", "activation"):
            stacked[name] = values[0]
        elif name == "state":
            parts = [[getattr(v, k).item() for v in values] for k in ("a", "b", "gamma")]
            ends = [[getattr(v, f"{k}_threshold").item() for v in values] for k in ("positive", "negative")]
            stacked[name] = state(*(torch.tensor(p, dtype=torch.float64) for p in parts + ends))
        elif name == "quantile":
            stacked[name] = torch.tensor(values, dtype=torch.float64).unsqueeze(-1)
        else:
            stacked[name] = torch.tensor(values) if name == "slate_size" else torch.tensor(values, dtype=torch.float64)
    return stacked


def random_scores(*shape, seed=0, dtype=torch.float64, keep=0.8):
    """positive (..., B), negatives (..., B, N), a companion and a mask; the first example has no real negatives."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return (2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1).to(dtype)

    mask = torch.rand(shape, generator=generator) < keep
    mask[..., 1:, 0] = True
    mask[..., 0, :] = False
    return draw(*shape[:-1]), draw(*shape), draw(*shape), mask
