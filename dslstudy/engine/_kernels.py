"""The Triton kernels of ``dslstudy.engine.fused``; the only file of the package that imports Triton.

One program computes one example: its row of N negatives lies in registers, the d columns of their vectors pass through
in chunks, so that no (B, N, d) tensor exists. Rows are padded to ``BLOCK_N``, vectors to a multiple of ``BLOCK_D``.
Table offsets are 64-bit: a stack of large tables has more than 2**31 entries.
"""

import triton
import triton.language as tl

#: below this largest deviation, relative to the largest magnitude, a row is constant to within float32's rounding
#: (the same limit as in the losses)
ROUNDING = tl.constexpr(8 * 2.0**-23)


@triton.jit
def _row(negative_items, mask, run, position, run_step, step, mask_run_step, mask_step, N, BLOCK_N, MASKED):
    """Ids of an example's negatives and which of them are real; steps may be zero, for what a batch or stack shares."""
    n = tl.arange(0, BLOCK_N)
    real = n < N
    index = tl.load(negative_items + run * run_step + position * step + n, mask=real, other=0).to(tl.int64)
    if MASKED:
        real = tl.load(mask + run * mask_run_step + position * mask_step + n, mask=real, other=0) != 0
    return index, real


@triton.jit
def _scores(vectors, items, directions, example, own, index, real, D, BLOCK_N, BLOCK_D, SIMILAR, ONE_TABLE):
    """Score of the positive, scores of the negatives, and cosines of the negatives with the positive, in float32."""
    positive = 0.0
    scores = tl.zeros((BLOCK_N,), tl.float32)
    similarity = tl.zeros((BLOCK_N,), tl.float32)
    for start in range(0, D, BLOCK_D):
        k = start + tl.arange(0, BLOCK_D)
        inside = k < D
        user = tl.load(vectors + example * D + k, mask=inside, other=0.0).to(tl.float32)
        item = tl.load(items + own * D + k, mask=inside, other=0.0).to(tl.float32)
        positive += tl.sum(user * item, 0)
        cells = index[:, None] * D + k[None, :]
        wanted = real[:, None] & inside[None, :]
        rows = tl.load(items + cells, mask=wanted, other=0.0).to(tl.float32)
        scores += tl.sum(rows * user[None, :], 1)
        if SIMILAR:
            if not ONE_TABLE:
                item = tl.load(directions + own * D + k, mask=inside, other=0.0).to(tl.float32)
                rows = tl.load(directions + cells, mask=wanted, other=0.0).to(tl.float32)
            similarity += tl.sum(rows * item[None, :], 1)
    return positive, scores, similarity


@triton.jit
def _z_scores(values, real, count):
    """Population z-scores of the real values, zero elsewhere and for a constant row."""
    values = tl.where(real, values, 0.0)
    scale = tl.max(tl.abs(values), 0)
    values = values / tl.where(scale > 0, scale, 1.0)
    values = tl.where(real, values - tl.sum(values, 0) / count, 0.0)
    constant = tl.max(tl.abs(values), 0) <= ROUNDING
    deviation = tl.sqrt(tl.sum(values * values, 0) / count)
    return tl.where(constant, 0.0, values / tl.where(constant, 1.0, deviation))


@triton.jit
def _log_kappa(scores, similarity, alpha, beta, real):
    """``log kappa_j``, finite everywhere; exactly zero for alpha = beta = 0."""
    count = tl.maximum(tl.sum(real.to(tl.float32), 0), 1.0)
    exponent = alpha * _z_scores(scores, real, count) + beta * _z_scores(similarity, real, count)
    # The z-scores of a row have mean zero, so the zeros of masked entries are never above the largest real one.
    exponent = exponent - tl.max(exponent, 0)
    total = tl.sum(tl.where(real, tl.exp(exponent), 0.0), 0)
    return exponent - tl.log(tl.where(total > 0, total / count, 1.0))


@triton.jit
def _log_sum_exp(positive, scores, log_kappa, inverse_temperature, real):
    """``log Σ_j kappa_j exp((s_j - s_i)/τ)`` and the softmax weights over τ; zeros without a real negative."""
    live = tl.max(real.to(tl.int32), 0) > 0
    top = tl.where(live, tl.max(tl.where(real, scores, float("-inf")), 0), 0.0)
    logits = (tl.where(real, scores, top) - top) * inverse_temperature + log_kappa
    peak = tl.max(tl.where(real, logits, float("-inf")), 0)
    powers = tl.where(real, tl.exp(logits - peak), 0.0)
    total = tl.where(live, tl.sum(powers, 0), 1.0)
    loss = tl.where(live, (top - positive) * inverse_temperature + peak + tl.log(total), 0.0)
    return loss, powers / total * inverse_temperature


@triton.jit
def forward(
    vectors,
    items,
    directions,
    positive_items,
    negative_items,
    mask,
    inverse_temperature,
    alpha,
    beta,
    loss,
    weights,
    B,
    num_items,
    run_step,
    step,
    mask_run_step,
    mask_step,
    N: tl.constexpr,
    D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    MASKED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    ONE_TABLE: tl.constexpr,
):
    """Loss and weights of one example in one pass."""
    example = tl.program_id(0).to(tl.int64)
    run = example // B
    index, real = _row(
        negative_items, mask, run, example % B, run_step, step, mask_run_step, mask_step, N, BLOCK_N, MASKED
    )
    own = run * num_items + tl.load(positive_items + example).to(tl.int64)
    index += run * num_items
    positive, scores, similarity = _scores(
        vectors, items, directions, example, own, index, real, D, BLOCK_N, BLOCK_D, WEIGHTED, ONE_TABLE
    )
    log_kappa = tl.zeros((BLOCK_N,), tl.float32)
    if WEIGHTED:
        log_kappa = _log_kappa(scores, similarity, tl.load(alpha + run), tl.load(beta + run), real)
    value, weight = _log_sum_exp(positive, scores, log_kappa, tl.load(inverse_temperature + run), real)
    tl.store(loss + example, value)
    n = tl.arange(0, BLOCK_N)
    tl.store(weights + example * N + n, weight, mask=n < N)


@triton.jit
def score(
    vectors,
    items,
    directions,
    positive_items,
    negative_items,
    mask,
    alpha,
    beta,
    positive_scores,
    negative_scores,
    log_kappa,
    B,
    num_items,
    run_step,
    step,
    mask_run_step,
    mask_step,
    N: tl.constexpr,
    D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    MASKED: tl.constexpr,
    ONE_TABLE: tl.constexpr,
):
    """Scores and log kappa of one example, for what looks at the whole batch before the loss can be finished."""
    example = tl.program_id(0).to(tl.int64)
    run = example // B
    index, real = _row(
        negative_items, mask, run, example % B, run_step, step, mask_run_step, mask_step, N, BLOCK_N, MASKED
    )
    own = run * num_items + tl.load(positive_items + example).to(tl.int64)
    index += run * num_items
    positive, scores, similarity = _scores(
        vectors, items, directions, example, own, index, real, D, BLOCK_N, BLOCK_D, True, ONE_TABLE
    )
    logs = _log_kappa(scores, similarity, tl.load(alpha + run), tl.load(beta + run), real)
    tl.store(positive_scores + example, positive)
    n = tl.arange(0, BLOCK_N)
    tl.store(negative_scores + example * N + n, scores, mask=n < N)
    tl.store(log_kappa + example * N + n, logs, mask=n < N)


@triton.jit
def finish(
    positive_scores,
    negative_scores,
    log_kappa,
    mask,
    inverse_temperature,
    loss,
    B,
    mask_run_step,
    mask_step,
    N: tl.constexpr,
    BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr,
):
    """From the scores of one example and its own temperature to its loss; its weights replace its scores."""
    example = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BLOCK_N)
    inside = n < N
    real = inside
    if MASKED:
        row = mask + example // B * mask_run_step + example % B * mask_step
        real = tl.load(row + n, mask=inside, other=0) != 0
    scores = tl.load(negative_scores + example * N + n, mask=inside, other=0.0)
    logs = tl.load(log_kappa + example * N + n, mask=inside, other=0.0)
    value, weight = _log_sum_exp(
        tl.load(positive_scores + example), scores, logs, tl.load(inverse_temperature + example), real
    )
    tl.store(loss + example, value)
    tl.store(negative_scores + example * N + n, weight, mask=inside)


@triton.jit
def backward(
    vectors,
    items,
    positive_items,
    negative_items,
    weights,
    gradient,
    vector_gradient,
    item_gradient,
    B,
    num_items,
    run_step,
    step,
    N: tl.constexpr,
    D: tl.constexpr,
    TILE_N: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Gradients of one example: summed up for its own vector, added atomically to the rows of its items."""
    example = tl.program_id(0).to(tl.int64)
    run = example // B
    row = negative_items + run * run_step + example % B * step
    k = tl.arange(0, WIDTH)
    inside = k < D
    user = tl.load(vectors + example * D + k, mask=inside, other=0.0).to(tl.float32)
    upstream = tl.load(gradient + example)
    pull = tl.zeros((TILE_N, WIDTH), tl.float32)
    shares = tl.zeros((TILE_N,), tl.float32)
    for start in range(0, N, TILE_N):
        n = start + tl.arange(0, TILE_N)
        share = tl.load(weights + example * N + n, mask=n < N, other=0.0) * upstream
        index = tl.load(row + n, mask=n < N, other=0).to(tl.int64) + run * num_items
        wanted = (share != 0)[:, None] & inside[None, :]
        cells = index[:, None] * D + k[None, :]
        pull += share[:, None] * tl.load(items + cells, mask=wanted, other=0.0).to(tl.float32)
        tl.atomic_add(item_gradient + cells, share[:, None] * user[None, :], mask=wanted, sem="relaxed")
        shares += share
    # What the negatives get, the positive loses: the loss sees margins only.
    total = tl.sum(shares, 0)
    own = (run * num_items + tl.load(positive_items + example).to(tl.int64)) * D + k
    item = tl.load(items + own, mask=inside, other=0.0).to(tl.float32)
    tl.atomic_add(item_gradient + own, -total * user, mask=inside, sem="relaxed")
    tl.store(vector_gradient + example * D + k, tl.sum(pull, 0) - total * item, mask=inside)
