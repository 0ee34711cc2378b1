import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_oracles import dsl, random_scores, real

from dslstudy.errors import InputError
from dslstudy.losses import DSL, READINGS, dsl_loss, dsl_terms, softmax_loss

every_reading = pytest.mark.parametrize("reading", READINGS)
SETTINGS = [
    {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2, "slate_size": 3},
    {"temperature": 1.0, "alpha": 0.7, "beta": -1.1, "gamma": -2.0, "slate_size": 1},
    {"temperature": 0.05, "alpha": 0.0, "beta": 0.5, "gamma": 1.0, "slate_size": 100},
    {"temperature": 1e-3, "alpha": 2.0, "beta": 0.0, "gamma": 0.5, "slate_size": 2},
]
PLAIN = {"temperature": 0.2, "alpha": 0.0, "beta": 0.0, "gamma": 0.0, "slate_size": 4}


def expected(positive, negatives, similarity, mask, **settings):
    """The oracle's terms and losses on (B,), (B, N), as tensors; zeros (tau: the temperature) without negatives."""
    rows = [[real(tensor[i], mask[i]) for i in range(len(mask))] for tensor in (negatives, similarity)]
    kappas, slates, intensities, taus, losses = dsl(positive.tolist(), *rows, **settings)
    kappa, slate = torch.zeros(mask.shape, dtype=torch.float64), torch.zeros_like(mask)
    for i, columns in enumerate(mask):
        columns = columns.nonzero().flatten()
        if len(columns):
            kappa[i, columns] = torch.tensor(kappas[i], dtype=torch.float64)
            slate[i, columns[slates[i]]] = True

    def filled(values, otherwise):
        return torch.tensor([otherwise if v is None else v for v in values], dtype=torch.float64)

    return kappa, slate, filled(intensities, 0.0), filled(taus, settings["temperature"]), filled(losses, 0.0)


def compare(positive, negatives, similarity, mask, settings, tolerance=1e-10):
    inputs = {"item_similarity": similarity, "mask": mask, **settings}
    kappa, slate, intensity, tau, losses = expected(positive, negatives, similarity, mask, **settings)
    terms = dsl_terms(positive, negatives, **inputs)
    assert torch.equal(terms.slate, slate)
    for got, want in ((terms.kappa, kappa), (terms.intensity, intensity), (terms.tau, tau)):
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(dsl_loss(positive, negatives, **inputs), losses, rtol=tolerance, atol=tolerance)


@every_reading
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(2))
def test_agrees_with_explicit_loops(reading, settings, seed):
    compare(*random_scores(8, 12, seed=seed), settings | {"reading": reading})


@given(data=st.data())
def test_agrees_with_explicit_loops_on_any_input(data):
    size, batch = data.draw(st.integers(1, 5), "N"), data.draw(st.integers(1, 5), "B")
    # A coarse grid makes ties and constants, and keeps what differs apart.
    grid = st.integers(-8, 8).map(lambda step: step / 8)
    numbers = data.draw(st.lists(grid, min_size=batch * (1 + 2 * size), max_size=batch * (1 + 2 * size)), "scores")
    keep = data.draw(st.lists(st.booleans(), min_size=batch * size, max_size=batch * size), "mask")
    numbers = torch.tensor(numbers, dtype=torch.float64)
    settings = {
        "temperature": data.draw(st.sampled_from([0.05, 0.2, 1.0]), "temperature"),
        "gamma": data.draw(st.sampled_from([-1.0, 0.0, 0.3]), "gamma"),
        "slate_size": data.draw(st.integers(1, 6), "slate_size"),
        "reading": data.draw(st.sampled_from(list(READINGS)), "reading"),
        # With hardness alone, ties in strength are ties in score, and any choice of the slate is as good.
        "alpha": data.draw(st.sampled_from([-0.05, 0.0, 0.4]), "alpha"),
        "beta": 0.0,
    }
    positive, negatives, similarity = numbers.split([batch, batch * size, batch * size])
    shape, mask = (batch, size), torch.tensor(keep).view(batch, size)
    inputs = positive, negatives.view(shape), similarity.view(shape), mask
    kappa, _, intensity, tau, losses = expected(*inputs, **settings)
    named = {"item_similarity": inputs[2], "mask": mask, **settings}
    terms = dsl_terms(*inputs[:2], **named)
    for got, want in ((terms.kappa, kappa), (terms.intensity, intensity), (terms.tau, tau)):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dsl_loss(*inputs[:2], **named), losses, rtol=1e-9, atol=1e-9)


@every_reading
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_without_weights_it_is_the_softmax_loss_to_the_bit(reading, dtype, masked):
    for shape in ((7, 33), (3, 7, 1000)):
        positive, negatives, similarity, mask = random_scores(*shape, dtype=dtype)
        mask = mask if masked else None
        gradients = []
        for loss in (
            lambda p, n, mask=mask, similarity=similarity: dsl_loss(
                p, n, item_similarity=similarity, mask=mask, reading=reading, **PLAIN
            ),
            lambda p, n, mask=mask: softmax_loss(p, n, temperature=0.2, mask=mask),
        ):
            inputs = positive.clone().requires_grad_(), negatives.clone().requires_grad_()
            losses = loss(*inputs)
            losses.sum().backward()
            gradients.append((losses, *(tensor.grad for tensor in inputs)))
        (losses, *slopes), (plain, *plain_slopes) = gradients
        assert torch.equal(losses, plain)
        precision = 1e-2 if dtype == torch.bfloat16 else 1e-5 if dtype == torch.float32 else 1e-13
        for got, want in zip(slopes, plain_slopes, strict=True):
            torch.testing.assert_close(got, want, rtol=precision, atol=precision)


def test_without_weights_a_stack_is_the_softmax_loss_to_the_bit():
    positive, negatives, similarity, mask = random_scores(3, 7, 33)
    zeros, temperature = torch.zeros(3), torch.tensor([0.05, 0.2, 1.0])
    losses = dsl_loss(
        positive,
        negatives,
        item_similarity=similarity,
        temperature=temperature,
        alpha=zeros,
        beta=-zeros,
        gamma=zeros,
        slate_size=torch.tensor([1, 5, 99]),
        mask=mask,
    )
    assert torch.equal(losses, softmax_loss(positive, negatives, temperature=temperature, mask=mask))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", SETTINGS)
def test_kappa_has_mean_one_and_tau_has_mean_tau(dtype, settings):
    positive, negatives, similarity, mask = random_scores(50, 200, dtype=dtype)
    terms = dsl_terms(positive, negatives, item_similarity=similarity, mask=mask, **settings)
    precision = {"rtol": 1e-5 if dtype == torch.float32 else 1e-13, "atol": 0.0}
    means = terms.kappa.sum(-1)[1:] / mask.sum(-1)[1:]
    torch.testing.assert_close(means, torch.ones(49, dtype=dtype), **precision)
    assert (terms.kappa[~mask] == 0).all()
    assert (terms.kappa[mask] > 0).all()
    torch.testing.assert_close(terms.tau[1:].mean().item(), settings["temperature"], **precision)
    assert terms.tau[0].item() == pytest.approx(settings["temperature"])
    assert terms.intensity[0] == 0
    sizes = torch.minimum(mask.sum(-1), torch.tensor(settings["slate_size"]))
    assert torch.equal(terms.slate.sum(-1), sizes)
    assert not (terms.slate & ~mask).any()
    assert not any(term.requires_grad for term in terms)


@pytest.mark.parametrize("size", [1, 2, 7, 20, 33, 250, 999, 1000, 5000])
@pytest.mark.parametrize("count", [1000, 1003])
def test_the_slate_holds_the_strongest(size, count):
    positive, negatives, similarity, mask = random_scores(4, count)
    settings = {"temperature": 0.3, "alpha": 0.2, "beta": 0.8, "gamma": 0.1, "slate_size": size}
    terms = dsl_terms(positive, negatives, item_similarity=similarity, mask=mask, **settings)
    strength = negatives - positive.unsqueeze(-1) + 0.3 * terms.kappa.log()
    for i in range(1, 4):
        inside, outside = strength[i][terms.slate[i]], strength[i][mask[i] & ~terms.slate[i]]
        assert len(inside) == min(size, int(mask[i].sum()))
        assert not len(outside) or inside.min() > outside.max()
        margins = (negatives[i] - positive[i])[terms.slate[i]]
        assert terms.intensity[i].item() == pytest.approx(margins.mean().item())


def test_z_scores_of_the_intensity_are_clipped():
    # One example in 101 far above the rest: its z-score is 10, clipped to 3.
    negatives = torch.zeros(101, 2, dtype=torch.float64)
    negatives[0] = 1.0
    terms = dsl_terms(
        torch.zeros(101).double(), negatives, item_similarity=negatives, **(PLAIN | {"gamma": 0.5, "temperature": 1.0})
    )
    ratio = (terms.tau[0] / terms.tau[1]).item()
    assert ratio == pytest.approx(math.exp(0.5 * (3 + 0.1)))


def test_a_constant_has_z_score_zero():
    negatives = torch.full((3, 1000), 0.1)
    positive = torch.tensor([0.3, 0.3, 0.3])
    terms = dsl_terms(positive, negatives, item_similarity=negatives * 3, **SETTINGS[1])
    assert (terms.kappa == 1).all()
    assert (terms.tau == 1).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_kappa_does_not_depend_on_the_scale_of_the_scores(scale):
    positive, negatives, similarity, mask = random_scores(6, 9, dtype=torch.float32)
    settings = PLAIN | {"alpha": 0.5, "beta": 0.3}
    plain = dsl_terms(positive, negatives, item_similarity=similarity, mask=mask, **settings).kappa
    scaled = dsl_terms(scale * positive, scale * negatives, item_similarity=scale * similarity, mask=mask, **settings)
    torch.testing.assert_close(scaled.kappa, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reading", [name for name in READINGS if name != "R4"])
@pytest.mark.parametrize("settings", SETTINGS[:3])
def test_the_gradient_stops_at_kappa_and_tau(reading, settings):
    """Autograd is compared with the derivative by hand, in which kappa and tau_i are numbers."""
    positive, negatives, similarity, mask = random_scores(6, 9)
    similarity.requires_grad_()
    inputs = {"item_similarity": similarity, "mask": mask, "reading": reading, **settings}
    terms = dsl_terms(positive, negatives, **inputs)
    positive.requires_grad_(), negatives.requires_grad_()
    dsl_loss(positive, negatives, **inputs).sum().backward()
    assert similarity.grad is None
    margins, tau = (negatives - positive.unsqueeze(-1)).detach(), terms.tau.unsqueeze(-1)
    if reading == "R2":
        logits, slope = terms.kappa * margins / tau, terms.kappa / tau
    else:
        logits, slope = margins / tau + terms.kappa.log(), 1 / tau
    by_hand = slope * logits.masked_fill(~mask, -torch.inf).softmax(-1).nan_to_num()
    torch.testing.assert_close(negatives.grad, by_hand, rtol=1e-10, atol=1e-10)
    of_positive = -by_hand.sum(-1)
    if reading == "R5":
        of_positive = torch.where(mask.any(-1), -1 / settings["temperature"], 0.0).double()
    torch.testing.assert_close(positive.grad, of_positive, rtol=1e-10, atol=1e-10)


def test_r4_has_the_gradient_of_tau():
    # beta alone, so that kappa is a number for the finite differences too.
    positive, negatives, similarity, mask = random_scores(6, 9)
    inputs = positive.requires_grad_(), negatives.requires_grad_()
    settings = {"temperature": 0.3, "alpha": 0.0, "beta": 0.4, "gamma": 0.7, "slate_size": 3, "mask": mask}

    def loss(p, n, reading):
        return dsl_loss(p, n, item_similarity=similarity, reading=reading, **settings)

    assert torch.autograd.gradcheck(lambda p, n: loss(p, n, "R4"), inputs)
    assert torch.equal(loss(*inputs, "R4"), loss(*inputs, "R1"))
    (through,) = torch.autograd.grad(loss(*inputs, "R4").sum(), positive)
    (stopped,) = torch.autograd.grad(loss(*inputs, "R1").sum(), positive)
    assert not torch.allclose(through, stopped, rtol=1e-2)


def test_r1_is_differentiable_like_a_loss_with_fixed_weights():
    positive, negatives, similarity, mask = random_scores(4, 6)
    inputs = positive.requires_grad_(), negatives.requires_grad_()
    settings = {"temperature": 0.3, "alpha": 0.0, "beta": 0.4, "gamma": 0.0, "slate_size": 3, "mask": mask}
    for reading in ("R1", "R2", "R5"):
        assert torch.autograd.gradcheck(
            lambda p, n, r=reading: dsl_loss(p, n, item_similarity=similarity, reading=r, **settings), inputs
        )


def test_signs_of_the_weights():
    """Positive alpha favours hard negatives, positive beta similar ones, positive gamma softens strong competition."""
    positive, negatives, similarity, _ = random_scores(30, 40)
    base = PLAIN | {"item_similarity": similarity}
    for name, by in (("alpha", negatives), ("beta", similarity)):
        kappa = dsl_terms(positive, negatives, **(base | {name: 0.5})).kappa
        assert torch.equal(kappa.argsort(-1), by.argsort(-1))
    terms = dsl_terms(positive, negatives, **(base | {"gamma": 0.5}))
    assert terms.tau[terms.intensity.argmax()] == terms.tau.max()
    assert terms.tau[terms.intensity.argmin()] == terms.tau.min()


def test_examples_without_negatives_leave_the_batch_statistics_alone():
    positive, negatives, similarity, mask = random_scores(6, 9)
    mask[3] = False
    inputs = {"item_similarity": similarity, "mask": mask, **SETTINGS[0]}
    alive = mask.any(-1)
    fewer = {"item_similarity": similarity[alive], "mask": mask[alive], **SETTINGS[0]}
    losses = dsl_loss(positive, negatives, **inputs)[alive]
    torch.testing.assert_close(losses, dsl_loss(positive[alive], negatives[alive], **fewer), rtol=1e-13, atol=1e-13)


def test_absurd_weights_stay_finite():
    positive, negatives, similarity, mask = random_scores(6, 40, dtype=torch.float32)
    for reading in READINGS:
        for name in ("alpha", "beta", "gamma"):
            inputs = positive.clone().requires_grad_(), negatives.clone().requires_grad_()
            settings = PLAIN | {name: 1e4}
            losses = dsl_loss(*inputs, item_similarity=similarity, mask=mask, reading=reading, **settings)
            losses.sum().backward()
            assert losses.isfinite().all()
            # R4's gradient is proportional to gamma / tau_i.
            assert reading == "R4" or all(tensor.grad.isfinite().all() for tensor in inputs)


def test_slate_sizes_by_run():
    positive, negatives, similarity, _ = random_scores(3, 5, 9)
    settings = SETTINGS[0] | {"item_similarity": similarity}
    expected = dsl_terms(positive, negatives, **(settings | {"slate_size": torch.tensor([1, 4, 20])}))
    assert expected.slate.sum(-1).tolist() == [[1] * 5, [4] * 5, [9] * 5]
    for sizes in ([1, 4, 20], (1, 4, 20), torch.tensor([1, 4, 20], dtype=torch.int32)):
        terms = dsl_terms(positive, negatives, **(settings | {"slate_size": sizes}))
        assert all(torch.equal(got, want) for got, want in zip(terms, expected, strict=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reading": "R6"}, "unknown reading 'R6' of DSL: choose one of R1, R2"),
        ({"slate_size": 0}, "slate_size must be at least 1, got 0"),
        ({"slate_size": torch.tensor(-1)}, "slate_size must be at least 1, got -1"),
        ({"slate_size": 2.5}, "slate_size must be an integer"),
        ({"slate_size": True}, "slate_size must be an integer"),
        ({"slate_size": torch.tensor(2.0)}, "slate_size must be an integer tensor"),
        ({"slate_size": [1, 2]}, "slate_size must be a number, or broadcast over the leading axes"),
    ],
)
def test_wrong_settings(wrong, message):
    positive, negatives, similarity, _ = random_scores(6, 9)
    for function in (dsl_loss, dsl_terms):
        with pytest.raises(InputError, match=message):
            function(positive, negatives, item_similarity=similarity, **(SETTINGS[0] | wrong))


def test_the_module_gives_its_terms():
    positive, negatives, similarity, mask = random_scores(6, 9)
    criterion = DSL(**SETTINGS[0])
    terms = criterion.terms(positive, negatives, item_similarity=similarity, mask=mask)
    expected = dsl_terms(positive, negatives, item_similarity=similarity, mask=mask, **SETTINGS[0])
    assert all(torch.equal(got, want) for got, want in zip(terms, expected, strict=True))
