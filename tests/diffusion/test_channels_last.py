"""A faster way to the same numbers: compared with PyTorch's own, in float64."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from mincurate.diffusion.channels_last import GroupNorm, channels_last


def normal(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(
    st.integers(1, 3),
    st.sampled_from([(4, 1), (4, 4), (8, 2), (32, 32)]),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from([0.0, 3.0, 100.0]),
    st.integers(0, 100),
)
def test_it_gives_what_torch_gives(n, channels, side, offset, seed):
    c, groups = channels
    assume(c // groups * side[0] * side[1] > 1)  # torch refuses to normalise a single value
    norm = nn.GroupNorm(groups, c)
    with torch.no_grad():
        norm.weight.copy_(normal(c, seed + 1))
        norm.bias.copy_(normal(c, seed + 2))
    x = (normal((n, c, *side), seed) + offset).contiguous(memory_format=torch.channels_last)
    exact = torch.nn.functional.group_norm(
        x.double(), groups, norm.weight.double(), norm.bias.double(), norm.eps
    )
    channels_last(norm)
    assert isinstance(norm, GroupNorm)
    with torch.inference_mode():
        result = norm(x)
    assert result.is_contiguous(memory_format=torch.channels_last)
    # What a rounding error of the input may do at most: the inverse deviation of its group.
    spread = x.double().reshape(n, groups, -1).var(2, correction=0).min()
    tolerance = 2e-5 + 4e-7 * (offset + 4) / float((spread + norm.eps).sqrt())
    torch.testing.assert_close(result.double(), exact, atol=4 * tolerance, rtol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_bfloat16_is_as_exact_as_bfloat16_is(offset):
    norm = nn.GroupNorm(8, 32).bfloat16()
    x = (normal((4, 32, 8, 8), 0) + offset).bfloat16().contiguous(memory_format=torch.channels_last)
    exact = torch.nn.functional.group_norm(x.double(), 8)
    own = (norm(x).double() - exact).abs().mean()
    channels_last(norm)
    error = (norm(x).double() - exact).abs().mean()
    assert error < 2 * own


@pytest.mark.parametrize(
    ("shape", "groups", "offset"), [((3, 8, 4, 4), 4, 0), ((2, 64, 5, 7), 32, 3)]
)
def test_gradients_are_as_exact_as_those_of_torch_in_bfloat16(shape, groups, offset):
    x = (normal(shape, 0) + offset).bfloat16().contiguous(memory_format=torch.channels_last)
    slope = normal(shape, 1).bfloat16()
    weight, bias = normal((shape[1],), 2).bfloat16(), normal((shape[1],), 3).bfloat16()

    def gradients(norm, dtype):
        norm = norm.to(dtype)
        norm.load_state_dict({"weight": weight, "bias": bias})
        given = x.to(dtype, copy=True).requires_grad_(True)
        norm(given).backward(slope.to(dtype))
        return [v.double() for v in (given.grad, norm.weight.grad, norm.bias.grad)]

    exact = gradients(nn.GroupNorm(groups, shape[1]), torch.float64)
    torchs = gradients(nn.GroupNorm(groups, shape[1]), torch.bfloat16)
    for own, plain, true in zip(
        gradients(channels_last(nn.GroupNorm(groups, shape[1])), torch.bfloat16),
        torchs,
        exact,
        strict=True,
    ):
        assert (own - true).norm() < 1.5 * (plain - true).norm() + 1e-3 * true.norm()


def test_other_layouts_and_gradients_in_float32_are_left_to_torch(monkeypatch):
    def unwanted(self, x):
        raise AssertionError

    monkeypatch.setattr(GroupNorm, "_channels_last", unwanted)
    norm = nn.Sequential(nn.GroupNorm(4, 8), nn.GroupNorm(4, 8, affine=False))
    channels_last(norm)
    assert [type(m) for m in norm] == [GroupNorm, nn.GroupNorm]
    x = normal((2, 8, 3, 3), 0)
    with torch.no_grad():
        norm[0](x)
        norm[0](x[..., 0])
    norm[0](x.contiguous(memory_format=torch.channels_last))
    assert set(norm[0].state_dict()) == {"weight", "bias"}
