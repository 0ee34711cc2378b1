import pytest
import torch
from loss_oracles import by_example, llpauc, random_scores, state

from dslstudy.errors import InputError
from dslstudy.losses import LLPAUC, LLPAUCState, llpauc_loss, unchecked

VALUES = [(0.7, 0.2, 0.1, 0.4, 0.6), (1.0, 0.0, 0.0, 0.5, 0.5), (0.3, 0.8, -0.2, -1.0, 2.0)]


@pytest.mark.parametrize("values", VALUES)
def test_is_the_pointwise_objective(values):
    positive, negatives, _, mask = random_scores(6, 5)
    positive, negatives = 4 * positive, 4 * negatives
    losses = llpauc_loss(positive, negatives, state=state(*values), alpha=0.6, beta=0.2, smoothing=5.0, mask=mask)
    expected = by_example(lambda s, row: llpauc(s, row, values, 0.6, 0.2, 5.0), positive, negatives, mask)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)


def test_at_its_saddle_point_the_whole_auc_is_the_pairwise_squared_loss():
    # alpha = beta = 1, hinges that are always open: 1 + loss is the mean of (1 - f_i + f_j)^2 over all pairs.
    positive, negatives, _, _ = random_scores(20, 7)
    f_positive, f_negative = positive.sigmoid(), negatives.sigmoid()
    a, b = f_positive.mean().item(), f_negative.mean().item()
    saddle = state(a, b, b - a, -40.0, -40.0)
    loss = llpauc_loss(positive, negatives, state=saddle, alpha=1.0, beta=1.0, smoothing=50.0).mean()
    pairs = (1 - f_positive.unsqueeze(-1) + f_negative.flatten()).square().mean()
    assert 1 + loss.item() == pytest.approx(pairs.item(), rel=1e-12)

    # ... and it is one: a and b minimise there, gamma maximises.
    def objective(a, b, gamma):
        moved = state(a, b, gamma, -40.0, -40.0)
        return llpauc_loss(positive, negatives, state=moved, alpha=1.0, beta=1.0, smoothing=50.0).mean()

    for shift in (-0.01, 0.01):
        assert objective(a + shift, b, b - a) > loss
        assert objective(a, b + shift, b - a) > loss
        assert objective(a, b, b - a + shift) < loss


def test_the_thresholds_pick_the_top_shares():
    # With sharp hinges, the best thresholds leave the means over the top alpha positives and the top beta negatives.
    positive, negatives, _, _ = random_scores(40, 1)
    a, b, gamma, alpha, beta = 0.6, 0.3, 0.2, 0.25, 0.1
    grid = torch.linspace(-1, 4, 5001, dtype=torch.float64)
    zeros = torch.zeros_like(grid)

    def objective(s_plus, s_minus):
        made = state(zeros + a, zeros + b, zeros + gamma, s_plus, s_minus)
        stacked = positive.expand(len(grid), -1), negatives.expand(len(grid), -1, -1)
        with unchecked():
            return llpauc_loss(*stacked, state=made, alpha=alpha, beta=beta, smoothing=1e5).mean(-1)

    base = objective(zeros, zeros)[0]
    best = objective(grid, zeros).max() + objective(zeros, grid).min() - base
    gain = (2 * (1 + gamma) * positive.sigmoid() - (positive.sigmoid() - a).square()).sort(descending=True).values
    cost = negatives.flatten().sigmoid()
    cost = (2 * (1 + gamma) * cost + (cost - b).square()).sort(descending=True).values
    assert best.item() == pytest.approx((cost[:4].mean() - gain[:10].mean() - gamma**2).item(), abs=1e-3)


def test_gradients_of_scores_and_state():
    positive, negatives, _, mask = random_scores(4, 5)
    made = state()
    names = [name for name, _ in made.named_parameters()]

    def loss(p, n, *values):
        moved = state()
        for name, value in zip(names, values, strict=True):
            delattr(moved, name)
            setattr(moved, name, value)
        return llpauc_loss(p, n, state=moved, alpha=0.5, beta=0.3, mask=mask)

    inputs = [tensor.detach().clone().requires_grad_() for tensor in (positive, negatives, *made.parameters())]
    assert torch.autograd.gradcheck(loss, inputs)


def test_one_optimiser_descends_and_ascends():
    positive, negatives, _, _ = random_scores(20, 7, dtype=torch.float32)
    criterion = LLPAUC(alpha=0.7, beta=0.1)
    criterion(positive, negatives).backward()
    plain = {name: p.grad.clone() for name, p in criterion.state.named_parameters()}
    criterion.state.turn_gradients()
    for name, parameter in criterion.state.named_parameters():
        sign = -1 if name in ("gamma", "positive_threshold") else 1
        assert torch.equal(parameter.grad, sign * plain[name])


def test_projection_restores_the_ranges():
    made = LLPAUCState((2,))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.tensor([-9.0, 9.0]))
    made.project()
    assert made.a.tolist() == made.b.tolist() == [0, 1]
    assert made.positive_threshold.tolist() == [-1, 4]
    assert made.negative_threshold.tolist() == [0, 5]
    assert made.gamma.tolist() == [0, 1]  # max(-a, b - 1) = max(0, -1) in the first run
    assert made.a.requires_grad


def test_training_with_it_separates_positives_from_negatives():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(64, generator=generator).requires_grad_()
    rivals = torch.randn(64, 5, generator=generator).requires_grad_()
    criterion = LLPAUC(alpha=0.7, beta=0.5)
    optimizer = torch.optim.Adam([scores, rivals, *criterion.parameters()], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        criterion(scores, rivals).backward()
        criterion.state.turn_gradients()
        optimizer.step()
        criterion.state.project()
    assert (scores.unsqueeze(-1) > rivals).double().mean() > 0.95


def test_wrong_shares():
    positive, negatives, _, _ = random_scores(4, 5)
    for bad in (0.0, 1.1, -0.2):
        with pytest.raises(InputError, match="alpha must be"):
            llpauc_loss(positive, negatives, state=state(), alpha=bad, beta=0.1)
        with pytest.raises(InputError, match="beta must be"):
            llpauc_loss(positive, negatives, state=state(), alpha=0.1, beta=bad)
