import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dslstudy.losses._numerics import standardise, top_columns, weights_of


@pytest.mark.parametrize("count", [1, 7, 64, 100, 1000, 1003, 1007])
@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_top_columns_are_those_of_a_sort(count, size):
    size = min(size, count)
    generator = torch.Generator().manual_seed(count)
    rising = torch.arange(count).double()
    values = torch.stack([rising, -rising, torch.rand(count, generator=generator).double(), rising % 8 * 1e3 + rising])
    found = top_columns(values, size).sort(-1).values
    assert torch.equal(found, values.argsort(-1, descending=True)[:, :size].sort(-1).values)


@given(data=st.data())
def test_top_columns_with_ties_have_the_largest_values(data):
    levels = st.sampled_from([-torch.inf, 0.0, 1.0, 2.0])
    values = torch.tensor(data.draw(st.lists(levels, min_size=64, max_size=90)))
    columns = top_columns(values, 2)
    assert len(set(columns.tolist())) == 2
    assert torch.equal(values[columns].sort().values, values.sort().values[-2:])


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_z_scores_are_those_of_the_real_entries(offset):
    generator = torch.Generator().manual_seed(0)
    values = offset + torch.rand(5, 9, generator=generator).double()
    mask = torch.rand(5, 9, generator=generator) < 0.7
    centred, factor = standardise(values, mask, weights_of(mask, values))
    for i in range(5):
        row = values[i][mask[i]]
        expected = (row - row.mean()) / row.std(correction=0)
        torch.testing.assert_close((centred * factor)[i][mask[i]], expected, rtol=1e-8, atol=1e-8)
    assert (centred[~mask] == 0).all()


def test_differences_of_rounding_size_are_no_differences():
    values = torch.full((1, 50), 0.1)
    values[0, ::2] = torch.nextafter(torch.tensor(0.1), torch.tensor(1.0))
    centred, factor = standardise(values, None, None)
    assert (centred * factor == 0).all()
    values[0, 0] += 1e-5
    centred, factor = standardise(values, None, None)
    assert (centred * factor)[0, 0] > 5
