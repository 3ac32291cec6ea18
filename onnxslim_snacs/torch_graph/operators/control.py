"""If, Loop and Scan: the body that is taken, as often as it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxslim_snacs.torch_graph.call import Call, Value
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor

#: Turns of a loop that nobody ends.
_MOST = 1 << 31


def if_(call: Call) -> tuple[Value, ...]:
    """If: gradients go through the branch that is taken."""
    taken = "then_branch" if bool(call[0].reshape(-1)[0].item()) else "else_branch"
    return call.bodies[taken](())


def loop(call: Call) -> tuple[Value, ...]:
    """Loop: carried values, then what each turn adds to the outputs."""
    most = int(call.scalar(0, default=_MOST))
    goes_on = bool(call.scalar(1, default=True))
    carried = tuple(call.inputs[2:])
    turns: list[tuple[Value, ...]] = []
    number = 0
    while goes_on and number < most:
        counted = torch.tensor(number, dtype=torch.int64)
        condition, *made = call.bodies["body"]((counted, torch.tensor(True), *carried))
        goes_on = bool(condition.reshape(-1)[0].item())
        carried, added = tuple(made[: len(carried)]), tuple(made[len(carried) :])
        turns.append(added)
        number += 1
    if turns:
        return (*carried, *(torch.stack(column) for column in zip(*turns, strict=True)))
    nothing = torch.zeros(0, dtype=call.floating)
    return (*carried, *[nothing] * (len(call.outputs) - len(carried)))


def scan(call: Call) -> tuple[Value, ...]:
    """Scan: states, then what is stacked along an axis."""
    if call.opset < 9:
        raise call.refuse("is a Scan of opset 8, which scans a batch; torch does not run it")
    count = call.attr("num_scan_inputs")
    states = tuple(call.inputs[: len(call.inputs) - count])
    read = call.inputs[len(states) :]
    added = len(call.outputs) - len(states)
    axes = list(call.attr("scan_input_axes") or [0] * count)
    back = list(call.attr("scan_input_directions") or [0] * count)
    columns = [
        _slices(x, axis, bool(turned)) for x, axis, turned in zip(read, axes, back, strict=True)
    ]
    stacked: list[list[Any]] = [[] for _ in range(added)]
    for row in zip(*columns, strict=True):
        made = call.bodies["body"]((*states, *row))
        states = made[: len(states)]
        for column, value in zip(stacked, made[len(states) :], strict=True):
            column.append(value)
    out_axes = list(call.attr("scan_output_axes") or [0] * added)
    out_back = list(call.attr("scan_output_directions") or [0] * added)
    ends = [
        torch.stack(column[::-1] if turned else column, axis)
        for column, axis, turned in zip(stacked, out_axes, out_back, strict=True)
    ]
    return (*states, *ends)


def _slices(x: Tensor, axis: int, back: bool) -> list[Tensor]:
    parts = list(x.unbind(axis))
    return parts[::-1] if back else parts


OPERATORS: Family = {"If": if_, "Loop": loop, "Scan": scan}
