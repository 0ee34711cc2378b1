"""A small click log, model and context that tests of training methods share."""

import torch

from dslstudy.c2al.method import Batch, Cohorts, Context
from dslstudy.models.fm_attention import FMAttention

SIZES = (7, 5, 4)


def make_batch(rows=40, seed=0, cohorts=3):
    """Random features and labels; the cohorts take turns, the first is the head and the second the tail."""
    stream = torch.Generator().manual_seed(seed)
    features = tuple(torch.randint(0, size, (rows,), generator=stream) for size in SIZES)
    labels = torch.randint(0, 2, (rows,), generator=stream).double()
    cohort = torch.arange(rows) % cohorts
    return Batch(features, labels, cohort == 0, cohort == 1, cohort, torch.arange(rows))


def make_encoder(seed=0, **options):
    """A small encoder."""
    options = {"embedding_size": 6, "attention_size": 3, "hidden": 8} | options
    return FMAttention(SIZES, **options, generator=torch.Generator().manual_seed(seed))


def make_model(method, batch, *, seed=0, **options):
    """What the method trains on such rows, in double precision."""
    encoder = make_encoder(seed, **options)
    cohorts = Cohorts(batch.head, batch.tail, batch.cohort, 3)
    context = Context(batch.labels, cohorts, seed=seed)
    return method.build(encoder, context, torch.Generator().manual_seed(seed + 1)).double()


def steps(method, batch, *, number=5, seed=0, **options):
    """Losses of some steps of Adam, and the model after them."""
    model = make_model(method, batch, seed=seed, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(number):
        losses.append(method.backward(model, batch).item())
        optimizer.step()
        optimizer.zero_grad()
    return losses, model


def size(module):
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
