"""Convolutions that a CPU computes faster in another way: depthwise ones, and small maps' 1 x 1."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

WIDEST = 3  # columns of a kernel for which oneDNN has a depthwise gradient
SMALL_MAP = 16  # pixels of a map up to which a matrix product is faster than a 1 x 1 convolution
AS_IS = [[1, 1], [0, 0]]  # stride and padding that visit each pixel once


class FastConvolutions(TorchFunctionMode):
    """A context in which convolutions on the CPU are computed in the fastest way known here.

    It reaches every network, whatever modules it is made of.

    Depthwise convolutions compute in float32 whatever the precision, since bfloat16 makes them
    several times slower on a CPU, but other convolutions twice as fast. Convolutions of 1 x 1 on
    small maps are computed as the matrix products that they are.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[int] | int = 1,
    padding: Sequence[int] | int | str = 0,
    dilation: Sequence[int] | int = 1,
    groups: int = 1,
) -> torch.Tensor:
    """Do what torch.conv2d does."""
    if x.device.type != "cpu" or x.ndim != 4 or isinstance(padding, str):
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    moves = [
        [each] * 2 if isinstance(each, int) else [*each] for each in (stride, padding, dilation)
    ]
    if groups == x.shape[1] > 1:
        with torch.autocast("cpu", enabled=False):
            y: torch.Tensor = _Depthwise.apply(x.float(), weight.float(), *moves)
            return y if bias is None else y + bias.float().view(-1, 1, 1)
    on_small_map = x.shape[2] * x.shape[3] <= SMALL_MAP
    if on_small_map and groups == 1 and weight.shape[2:] == (1, 1) and moves[:2] == AS_IS:
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.moves = stride, padding, dilation
        return F.conv2d(x, weight, None, stride, padding, dilation, x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.moves
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _gradients(gradient, x, weight, stride, padding, dilation, wanted=0)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(gradient, x, weight, stride, padding, dilation)
        return of_x, of_weight, None, None, None


def weight_gradient(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> torch.Tensor:
    """Return the gradient of a depthwise convolution's weights.

    oneDNN has a depthwise gradient only for kernels that are at most three columns wide and fit
    into the map of x. It treats others as if they connected 16 channels each, which takes up to ten
    times as long. So kernels are divided into strips of three columns, and the map is padded.

    Parameters
    ----------
    gradient : Tensor of shape (B, channels, rows, columns), float32
        Of the convolution's output.
    x : Tensor of shape (B, C, H, W), float32
    weight : Tensor of shape (channels, 1, kernel rows, kernel columns), float32
    stride, padding, dilation : sequence of two int
    """
    sizes = zip(weight.shape[2:], x.shape[2:], gradient.shape[2:], strict=True)
    moves = zip(stride, padding, dilation, strict=True)
    rows, columns = (_Axis(*own, *move) for own, move in zip(sizes, moves, strict=True))
    if rows.kernel <= rows.map and columns.kernel <= min(columns.map, WIDEST):
        return _gradients(gradient, x, weight, stride, padding, dilation, wanted=1)
    found, high, wide = torch.zeros_like(weight), rows.reached, columns.reached
    for left in wide[::WIDEST]:
        strip = range(left, min(left + WIDEST, wide.stop))
        part = (..., slice(high.start, high.stop), slice(strip.start, strip.stop))
        seen = F.pad(x, (*columns.margins(strip), *rows.margins(high)))
        found[part] = _gradients(gradient, seen, weight[part], stride, (0, 0), dilation, wanted=1)
    return found


class _Axis(NamedTuple):
    """A convolution's sizes along its rows or its columns."""

    kernel: int
    map: int  # of x
    output: int
    stride: int
    padding: int
    dilation: int

    @property
    def reached(self) -> range:
        """Return the places of the kernel that meet the map; the others meet padding alone."""
        first = self.padding - (self.output - 1) * self.stride
        last = self.padding + self.map - 1
        start = max(0, -(-first // self.dilation))
        return range(start, min(self.kernel, last // self.dilation + 1))

    def margins(self, places: range) -> tuple[int, int]:
        """Return by how much to pad the map for some places of the kernel; negative: to cut."""
        before = self.padding - places.start * self.dilation
        reach = (self.output - 1) * self.stride + (len(places) - 1) * self.dilation + 1
        return before, reach - self.map - before


def _gradients(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    wanted: int,
) -> torch.Tensor:
    """Return the gradient of x (`wanted` 0) or of the weights (1), computed by oneDNN."""
    gradient, x = (each.contiguous(memory_format=torch.channels_last) for each in (gradient, x))
    mask = [wanted == 0, wanted == 1, False]
    found: torch.Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, [0, 0], x.shape[1], mask
    )[wanted]
    return found
