"""Fast convolutions on a CPU: what torch computes, depthwise ones in float32."""

import pytest
import torch
from torch import nn

from shotcount.networks.backbones import build_backbone
from shotcount.networks.convolutions import FastConvolutions
from shotcount.networks.devices import seeded


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7, (3, 5)])
@pytest.mark.parametrize("map_", [2, 3, 9])
@pytest.mark.parametrize(
    ("stride", "dilation", "more"), [(1, 1, 1), (2, 1, 1), (1, 2, 1), (2, 1, 2)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_depthwise_ones_are_torchs(
    kernel: int | tuple[int, int], map_: int, stride: int, dilation: int, more: int, bias: bool
) -> None:
    with seeded(0):
        layer = nn.Conv2d(
            8, 8 * more, kernel, stride, padding=6, dilation=dilation, groups=8, bias=bias
        )
        x = torch.randn(3, 8, map_, map_ + 1)
    check_output_and_gradients(layer, x)


@pytest.mark.parametrize("map_", [1, 3, 4, 9])
@pytest.mark.parametrize(
    ("stride", "padding", "groups"), [(1, 0, 1), (2, 0, 1), (1, 2, 1), (1, 0, 2)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_1_x_1_are_torchs(map_: int, stride: int, padding: int, groups: int, bias: bool) -> None:
    with seeded(0):
        layer = nn.Conv2d(8, 6, 1, stride, padding, groups=groups, bias=bias)
        x = torch.randn(3, 8, map_, 4).to(memory_format=torch.channels_last)
    check_output_and_gradients(layer, x)


def test_1_x_1_on_small_maps_are_matrix_products() -> None:
    layer = nn.Conv2d(8, 6, 1)
    for map_, made in ((4, "aten::linear"), (5, "aten::convolution")):
        with torch.profiler.profile() as profile, FastConvolutions():
            layer(torch.zeros(2, 8, map_, map_))
        names = {event.key for event in profile.key_averages()}
        assert names & {"aten::linear", "aten::convolution"} == {made}


def check_output_and_gradients(layer: nn.Conv2d, x: torch.Tensor) -> None:
    found = []
    for dtype in (torch.float64, torch.float32):
        layer = layer.to(dtype).requires_grad_()
        layer.zero_grad()
        own = x.to(dtype).requires_grad_()
        if dtype == torch.float32:
            with FastConvolutions():
                y = layer(own)
        else:
            y = layer(own)
        (y**2).sum().backward()
        found.append([y, own.grad, *(p.grad for p in layer.parameters())])
    for exact, fast in zip(*found, strict=True):
        assert torch.allclose(exact.float(), fast, rtol=1e-4, atol=1e-4)


def test_only_what_is_asked_for_has_a_gradient() -> None:
    layer, x = nn.Conv2d(4, 4, 5, padding=2, groups=4).requires_grad_(False), torch.ones(1, 4, 3, 3)
    with FastConvolutions():
        assert not layer(x).requires_grad
        layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None and layer.weight.grad is None


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name(padding: str) -> None:
    layer, x = nn.Conv2d(4, 4, 3, padding=padding, groups=4), torch.ones(1, 4, 5, 5)
    with FastConvolutions():
        fast = layer(x)
    assert torch.equal(fast, layer(x))


def test_they_stay_in_float32_within_a_whole_network() -> None:
    network = build_backbone("tf_efficientnet_lite0")
    made: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def note(layer: nn.Conv2d, _: object, y: torch.Tensor) -> None:
        made[layer.groups > 1].add(y.dtype)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    with FastConvolutions(), torch.autocast("cpu", torch.bfloat16):
        network(torch.zeros(2, 3, 32, 32))
    assert made == {True: {torch.float32}, False: {torch.bfloat16}}
