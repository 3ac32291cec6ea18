"""Windows that slide over pixels: how much is padded, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxslim_snacs.torch_graph.call import Call
from onnxslim_snacs.torch_graph.late import functional

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Windows:
    """Where windows lie, one number for each dimension of the pixels.

    Attributes:
        kernel: taps.
        strides: from one window to the next.
        dilations: from one tap to the next.
        begin: padding in front.
        end: padding behind.
        out: number of windows.
        extra: padding behind that a last window of ceil_mode asks for and that is not counted;
            negative where pixels at the end are in no window.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    out: tuple[int, ...]
    extra: tuple[int, ...]

    @property
    def symmetric(self) -> bool:
        """Whether torch can do the padding itself."""
        return self.begin == self.end


def windows(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> Windows:
    """Read strides, dilations, pads, auto_pad and ceil_mode of a node.

    Args:
        call: the node.
        sizes: pixels along each dimension.
        kernel: taps along each dimension.
    """
    rank = len(sizes)
    strides = tuple(call.attr("strides") or [1] * rank)
    dilations = tuple(call.attr("dilations") or [1] * rank)
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    pads = list(call.attr("pads") or [0] * (2 * rank))
    auto = call.attr("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        needed = [
            max(0, (-(-n // s) - 1) * s + span - n)
            for n, s, span in zip(sizes, strides, spans, strict=True)
        ]
        small = [n // 2 for n in needed]
        large = [n - n // 2 for n in needed]
        pads = [*small, *large] if auto == "SAME_UPPER" else [*large, *small]
    elif auto == "VALID":
        pads = [0] * (2 * rank)
    begin, end = tuple(pads[:rank]), tuple(pads[rank:])
    ceil = bool(call.attr("ceil_mode", 0)) and auto == "NOTSET"
    out, extra = [], []
    for n, b, e, s, span in zip(sizes, begin, end, strides, spans, strict=True):
        number = (-(-(n + b + e - span) // s) if ceil else (n + b + e - span) // s) + 1
        if ceil and (number - 1) * s >= n + b:  # a window of padding alone is none
            number -= 1
        out.append(number)
        extra.append(max(0, (number - 1) * s + span - (n + b + e)))
    return Windows(
        kernel=tuple(kernel),
        strides=strides,
        dilations=dilations,
        begin=begin,
        end=end,
        out=tuple(out),
        extra=tuple(extra),
    )


def pad_pixels(x: Tensor, begin: Sequence[int], end: Sequence[int], value: float) -> Tensor:
    """Pad (or, where negative, crop) the last dimensions of `x`."""
    if not any(begin) and not any(end):
        return x
    flat = [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair]
    padded: Tensor = functional.pad(x, flat, value=value)
    return padded
