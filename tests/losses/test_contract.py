"""What every loss promises: shapes, masks, dtypes, extreme values, stacks, errors."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_oracles import CASES, Case, random_scores, stack

from dslstudy.errors import InputError
from dslstudy.losses import dsl_loss, softmax_loss, unchecked

every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def gradients(case: Case, positive, negatives, companion, mask=None, settings=None):
    positive, negatives = positive.clone().requires_grad_(), negatives.clone().requires_grad_()
    losses = case(positive, negatives, companion, mask, settings)
    losses.sum().backward()
    return losses.detach(), positive.grad, negatives.grad


@every_loss
@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5), (2, 3, 4, 5), (1, 1), (0, 3)])
def test_one_loss_per_example(case, shape):
    generator = torch.Generator().manual_seed(1)
    positive, negatives = torch.rand(shape[:-1], generator=generator), torch.rand(shape, generator=generator)
    losses = case(positive, negatives, torch.zeros(shape))
    assert losses.shape == shape[:-1]
    assert losses.dtype == torch.float32
    assert losses.isfinite().all()


@every_loss
def test_without_real_negatives_the_loss_and_its_gradient_are_exactly_zero(case):
    positive, negatives, companion, mask = random_scores(4, 6)
    losses, of_positive, of_negatives = gradients(case, positive, negatives, companion, mask)
    assert losses[0] == 0
    assert of_positive[0] == 0
    assert (of_negatives[~mask] == 0).all()
    assert losses[1:].isfinite().all()
    nothing = torch.zeros_like(mask)
    for result in gradients(case, positive, negatives, companion, nothing):
        assert (result == 0).all()


@every_loss
def test_masked_scores_are_never_looked_at(case):
    positive, negatives, companion, mask = random_scores(4, 6)
    expected = gradients(case, positive, negatives, companion, mask)
    for rubbish in (math.nan, math.inf, -math.inf, 1e300):
        dirty, dirty_companion = negatives.masked_fill(~mask, rubbish), companion.masked_fill(~mask, rubbish)
        for got, want in zip(gradients(case, positive, dirty, dirty_companion, mask), expected, strict=True):
            assert torch.equal(got, want)


@every_loss
def test_a_mask_of_ones_changes_nothing_and_masking_is_removing(case):
    positive, negatives, companion, _ = random_scores(5, 6)
    everything = torch.ones(5, 6, dtype=torch.bool)
    bare = case(positive, negatives, companion)
    torch.testing.assert_close(case(positive, negatives, companion, everything), bare, rtol=1e-13, atol=1e-13)
    first = everything.clone()
    first[:, 4:] = False
    masked, removed = case(positive, negatives, companion, first), case(positive, negatives[:, :4], companion[:, :4])
    torch.testing.assert_close(masked, removed, rtol=1e-13, atol=1e-13)


@every_loss
def test_permuting_negatives_changes_nothing(case):
    positive, negatives, companion, mask = random_scores(5, 30)
    order = torch.rand(5, 30, generator=torch.Generator().manual_seed(2)).argsort(-1)
    shuffled = [tensor.gather(-1, order) for tensor in (negatives, companion, mask)]
    expected, of_positive, of_negatives = gradients(case, positive, negatives, companion, mask)
    losses, also_of_positive, of_shuffled = gradients(case, positive, *shuffled)
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(also_of_positive, of_positive, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(of_shuffled, of_negatives.gather(-1, order), rtol=1e-11, atol=1e-11)


@every_loss
def test_a_stack_of_runs_is_the_runs_one_by_one(case):
    positive, negatives, companion, mask = random_scores(3, 5, 24)
    stacked = gradients(case, positive, negatives, companion, mask, stack(case.settings))
    for run, settings in enumerate(case.settings):
        alone = gradients(case, positive[run], negatives[run], companion[run], mask[run], settings)
        for together, single in zip(stacked, alone, strict=True):
            torch.testing.assert_close(together[run], single, rtol=1e-12, atol=1e-12)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_are_computed_in_single_precision(case, dtype):
    positive, negatives, companion, mask = random_scores(5, 20, dtype=dtype)
    losses, of_positive, of_negatives = gradients(case, positive, negatives, companion, mask)
    assert losses.dtype == torch.float32
    assert of_positive.dtype == of_negatives.dtype == dtype
    assert torch.equal(losses, case(positive.float(), negatives.float(), companion.float(), mask))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("temperature", [1e-3, 1.0])
def test_no_finite_scores_overflow(case, dtype, temperature):
    # R4 promises less: its gradient multiplies scores with scores.
    largest = torch.finfo(dtype).max ** (0.5 if case.settings[0].get("reading") == "R4" else 1)
    levels = torch.tensor([0.0, 1.0, -1.0, 1e4, largest, -largest, torch.finfo(dtype).tiny], dtype=dtype)
    positive = levels.repeat_interleave(len(levels))
    pairs = torch.cartesian_prod(levels, levels, levels)[
        torch.randperm(343, generator=torch.Generator().manual_seed(0))
    ]
    negatives = pairs[: len(positive)]
    settings = dict(case.settings[0])
    for name in ("temperature", "positive_temperature"):
        if name in settings:
            settings[name] = temperature
    companion = torch.zeros_like(negatives)
    companion[:, 0] = 1
    for mask in (None, negatives != 1):
        for result in gradients(case, positive, negatives, companion, mask, settings):
            assert result.isfinite().all()


@every_loss
@given(data=st.data())
def test_finite_losses_and_gradients_on_any_cosines(case, data):
    size = data.draw(st.integers(1, 6), "N")
    cosines = st.lists(st.floats(-1, 1, width=32), min_size=3 * size, max_size=3 * size)
    negatives = torch.tensor(data.draw(cosines, "negatives")).view(3, size)
    companion = torch.tensor(data.draw(cosines, "companion")).view(3, size)
    positive = torch.tensor(data.draw(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), "positive"))
    settings = dict(case.settings[0])
    if "temperature" in settings:
        settings["temperature"] = data.draw(st.sampled_from([1e-3, 0.05, 0.2, 5.0]), "temperature")
    for result in gradients(case, positive, negatives, companion, settings=settings):
        assert result.isfinite().all()


@every_loss
def test_wrong_scores_are_clear_errors(case):
    positive, negatives, companion, mask = random_scores(4, 6)
    for bad in (torch.nan, torch.inf, -torch.inf):
        broken = negatives.clone()
        broken[2, 0] = bad
        with pytest.raises(InputError, match="negatives has 1 NaN or infinite"):
            case(positive, broken, companion, mask)
        with pytest.raises(InputError, match="positive has 4 NaN or infinite"):
            case(torch.full_like(positive, bad), negatives, companion)
    with pytest.raises(InputError, match=r"positive \(..., B\) and negatives \(..., B, N\)"):
        case(positive[:3], negatives, companion)
    with pytest.raises(InputError, match=r"positive \(..., B\) and negatives \(..., B, N\)"):
        case(positive[0], negatives[0], companion[0])
    with pytest.raises(InputError, match="no column"):
        case(positive, negatives[:, :0], companion[:, :0])
    with pytest.raises(InputError, match="mask must be a bool tensor"):
        case(positive, negatives, companion, mask.float())
    with pytest.raises(InputError, match="mask must have the shape of negatives"):
        case(positive, negatives, companion, mask[:, :5])
    with pytest.raises(InputError, match=r"floating-point torch tensor of scores, not torch\.int64"):
        case(positive, negatives.long(), companion)
    with pytest.raises(InputError, match="floating-point torch tensor of scores, not list"):
        case([0.5] * 4, negatives, companion)


@every_loss
def test_wrong_hyperparameters_are_clear_errors(case):
    positive, negatives, companion, _ = random_scores(3, 4, 6)
    names = [name for name in case.settings[0] if name not in ("state", "reading", "activation", "slate_size")]
    for name in names:
        for bad in (math.nan, math.inf, torch.tensor([1.0, math.nan, 1.0])):
            with pytest.raises(InputError, match=name):
                case(positive, negatives, companion, settings=case.settings[0] | {name: bad})
        with pytest.raises(InputError, match=name):
            case(positive, negatives, companion, settings=case.settings[0] | {name: torch.ones(2)})
        with pytest.raises(InputError, match=name):
            case(positive, negatives, companion, settings=case.settings[0] | {name: "warm"})
    for name in {
        "temperature",
        "positive_temperature",
        "weight_temperature",
        "negative_weight",
        "smoothing",
        "weight",
    } & set(names):
        for bad in (0, -0.2, torch.tensor([0.1, 0.0, 0.2])):
            with pytest.raises(InputError, match=f"{name} must be above 0"):
                case(positive, negatives, companion, settings=case.settings[0] | {name: bad})
    if case.companion:
        with pytest.raises(InputError, match=f"{case.companion} must have the shape"):
            case(positive, negatives, companion[..., :5])
        broken = companion.clone()
        broken[1, 1, 1] = torch.nan
        with pytest.raises(InputError, match=f"{case.companion} has 1 NaN"):
            case(positive, negatives, broken)
        with pytest.raises(InputError, match=f"{case.companion} must be a floating-point torch tensor"):
            case(positive, negatives, None)


@every_loss
def test_inputs_are_not_changed(case):
    inputs = random_scores(4, 6)
    copies = [tensor.clone() for tensor in inputs]
    case(*inputs)
    case(*inputs[:3])
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(inputs, copies, strict=True))


@pytest.mark.parametrize(
    "name",
    [
        "bpr",
        "bsl",
        "psl-relu",
        "slatk",
        "advinfonce",
        "llpauc",
        "dsl-R1",
        "dsl-R4",
        "blind_slate",
        "own_score",
        "loss_reweighting",
        "dsl_positive_weight",
    ],
)
def test_compiles_to_one_graph(name):
    case = CASES[name]
    # The eager backend still traces everything: data-dependent branches would break the graph.
    inputs = random_scores(4, 6, dtype=torch.float32)
    torch.compiler.reset()
    compiled = torch.compile(lambda *tensors: case(*tensors), backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(*inputs), case(*inputs))


def test_unchecked_skips_the_checks_of_values_only():
    positive, negatives = torch.zeros(2), torch.full((2, 3), torch.nan)
    with unchecked():
        assert softmax_loss(positive, negatives, temperature=0.2).isnan().all()
        with pytest.raises(InputError):
            softmax_loss(positive, negatives[:1], temperature=0.2)
    with pytest.raises(InputError):
        softmax_loss(positive, negatives, temperature=0.2)


def test_huge_finite_scores_are_not_mistaken_for_infinite_ones():
    # Their sum overflows, which is what the cheap check looks at.
    negatives = torch.full((1, 4), 3e38)
    assert softmax_loss(torch.tensor([3e38]), negatives, temperature=0.2).item() == pytest.approx(math.log(4))


def test_mixed_dtypes_meet_in_the_wider_one():
    positive, negatives, companion, _ = random_scores(4, 6)
    assert softmax_loss(positive, negatives.float(), temperature=0.2).dtype == torch.float64
    settings = CASES["dsl-R1"].settings[0]
    assert (
        dsl_loss(positive.bfloat16(), negatives.float(), item_similarity=companion, **settings).dtype == torch.float32
    )


def test_masks_and_similarities_shared_by_a_stack_broadcast():
    case = CASES["dsl-R1"]
    positive, negatives, companion, mask = random_scores(3, 4, 6)
    shared = case(positive, negatives, companion[0], mask[0], stack(case.settings))
    repeated = case(positive, negatives, companion[:1].expand(3, 4, 6), mask[:1].expand(3, 4, 6), stack(case.settings))
    assert torch.equal(shared, repeated)
