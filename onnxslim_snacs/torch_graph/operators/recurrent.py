"""LSTM, GRU and RNN with every option: (time, batch, input) -> (time, directions, batch, hidden).

A sequence that is shorter than the others leaves its states as they are from its end on, and zeros
in the output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxslim_snacs.torch_graph.call import Call
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import functional, torch

if TYPE_CHECKING:
    from torch import Tensor

_Function = Callable[["Tensor"], "Tensor"]
#: One step: (projected input, states) -> states, of which the first is the output.
_Step = Callable[["Tensor", tuple["Tensor", ...]], tuple["Tensor", ...]]


@dataclass(frozen=True, slots=True)
class _Direction:
    """One direction of a node.

    Attributes:
        input: (gates x hidden, input) weight of the input.
        recurrence: (gates x hidden, hidden) weight of the last output.
        bias: (2 x gates x hidden,) of the two products.
        peephole: (3 x hidden,) LSTM: weights of the cell; None without.
        functions: the activations.
    """

    input: Tensor
    recurrence: Tensor
    bias: Tensor
    peephole: Tensor | None
    functions: list[_Function]


def lstm(call: Call) -> Any:
    """LSTM; gates are stored as input, output, forget, cell."""
    return _run(call, 2, ["Sigmoid", "Tanh", "Tanh"], _lstm_step)


def gru(call: Call) -> Any:
    """GRU; gates are stored as update, reset, hidden."""
    return _run(call, 1, ["Sigmoid", "Tanh"], _gru_step)


def rnn(call: Call) -> Any:
    """RNN, of one gate."""
    return _run(call, 1, ["Tanh"], _rnn_step)


def _lstm_step(call: Call, way: _Direction) -> _Step:
    f, g, h = way.functions
    bias = way.bias.reshape(2, -1).sum(0)
    peep = [None] * 3 if way.peephole is None else way.peephole.chunk(3)
    bounded, coupled = _clip(call), call.attr("input_forget", 0)

    def looked(gate: Tensor, cell: Tensor, weight: Tensor | None) -> Tensor:
        return bounded(gate if weight is None else gate + weight * cell)

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        last, cell = states
        i, o, forget, c = (x + last @ way.recurrence.T + bias).chunk(4, -1)
        i = f(looked(i, cell, peep[0]))
        forget = 1 - i if coupled else f(looked(forget, cell, peep[2]))
        cell = forget * cell + i * g(bounded(c))
        return f(looked(o, cell, peep[1])) * h(cell), cell

    return step


def _gru_step(call: Call, way: _Direction) -> _Step:
    f, g = way.functions
    size = way.recurrence.shape[1]
    wb, rb = way.bias.reshape(2, -1)
    gates, hidden = way.recurrence[: 2 * size].T, way.recurrence[2 * size :].T
    bounded, before = _clip(call), call.attr("linear_before_reset", 0)

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (last,) = states
        both = x[:, : 2 * size] + last @ gates + wb[: 2 * size] + rb[: 2 * size]
        z, r = f(bounded(both)).chunk(2, -1)
        own = x[:, 2 * size :] + wb[2 * size :]
        if before:
            own = own + r * (last @ hidden + rb[2 * size :])
        else:
            own = own + (r * last) @ hidden + rb[2 * size :]
        return ((1 - z) * g(bounded(own)) + z * last,)

    return step


def _rnn_step(call: Call, way: _Direction) -> _Step:
    (f,) = way.functions
    bias, bounded = way.bias.reshape(2, -1).sum(0), _clip(call)

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (f(bounded(x + states[0] @ way.recurrence.T + bias)),)

    return step


def _clip(call: Call) -> _Function:
    bound = call.attr("clip", 0.0)
    return (lambda x: x.clamp(-bound, bound)) if bound else (lambda x: x)


def _run(
    call: Call, states: int, functions: list[str], cell: Callable[[Call, _Direction], _Step]
) -> tuple[Tensor, ...]:
    """All directions; Y, then the last of each state."""
    by_batch = call.attr("layout", 0)
    x = call[0].transpose(0, 1) if by_batch else call[0]
    weights, again = call[1], call[2]
    bias = call.get(3)
    steps, batch, hidden = x.shape[0], x.shape[1], again.shape[-1]
    if bias is None:
        bias = x.new_zeros((len(weights), 2 * weights.shape[1]))
    initial = [call.get(5), call.get(6)][:states]
    peephole = call.get(7) if states == 2 else None
    lengths = call.get(4)
    length = None if lengths is None else lengths.long().to(x.device)
    direction = call.attr("direction", "forward")
    made, last = [], []
    for k in range(len(weights)):
        way = _Direction(
            weights[k],
            again[k],
            bias[k],
            None if peephole is None else peephole[k],
            _functions(call, functions, k),
        )
        first = tuple(
            x.new_zeros((batch, hidden)) if s is None else s[:, k] if by_batch else s[k]
            for s in initial
        )
        back = direction == "reverse" or k == 1
        order = _order(steps, batch, length, back, x)
        y, end = _unroll(x, order, length, cell(call, way), way.input, first)
        made.append(_back(y, order))
        last.append(end)
    whole = torch.stack(made, 1)  # (time, directions, batch, hidden)
    ends = [torch.stack(values) for values in zip(*last, strict=True)]
    if by_batch:
        whole, ends = whole.permute(2, 0, 1, 3), [e.transpose(0, 1) for e in ends]
    return (whole, *ends)


def _order(steps: int, batch: int, length: Tensor | None, back: bool, x: Tensor) -> Tensor | None:
    """(time, batch) which step is read when; None for the steps as they are."""
    if not back:
        return None
    time = torch.arange(steps, device=x.device)[:, None].expand(steps, batch)
    if length is None:
        return time.flip(0)
    return torch.where(time < length, length - 1 - time, time)  # each within its own length


def _back(y: Tensor, order: Tensor | None) -> Tensor:
    """The outputs in the order of the input; a reversal undoes itself."""
    return y if order is None else y.gather(0, order[..., None].expand_as(y))


def _unroll(
    x: Tensor,
    order: Tensor | None,
    length: Tensor | None,
    step: _Step,
    weight: Tensor,
    states: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(time, batch, hidden) outputs and the last states."""
    read = x if order is None else x.gather(0, order[..., None].expand_as(x))
    projected = functional.linear(read, weight)
    made = []
    for time in range(len(projected)):
        now = step(projected[time], states)
        if length is None:
            states = now
            made.append(now[0])
            continue
        runs = (length > time)[:, None]
        states = tuple(torch.where(runs, a, b) for a, b in zip(now, states, strict=True))
        made.append(torch.where(runs, now[0], torch.zeros_like(now[0])))
    return torch.stack(made), states


def _functions(call: Call, default: list[str], direction: int) -> list[_Function]:
    names = list(call.attr("activations") or ())
    names = [n.decode() if isinstance(n, bytes) else n for n in names]
    own = names[direction * len(default) : (direction + 1) * len(default)] or default
    alphas, betas = (
        list(call.attr("activation_alpha") or ()),
        list(call.attr("activation_beta") or ()),
    )
    found = []
    for position, name in enumerate(names or default):
        alpha, beta = _parameters(name, alphas, betas)
        if not names or position // len(default) == direction:
            found.append(_function(call, name, alpha, beta))
    return found if len(found) == len(own) else found[: len(default)]


#: Activation -> its alpha and beta if none are given; None for one that takes none.
_DEFAULTS: dict[str, tuple[float | None, float | None]] = {
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "scaledtanh": (1.0, 1.0),
    "affine": (1.0, 0.0),
}


def _parameters(name: str, alphas: list[float], betas: list[float]) -> tuple[float, float]:
    """The next alpha and beta of the lists, which only hold those of functions that take some."""
    alpha, beta = _DEFAULTS.get(name.lower(), (None, None))
    if alpha is not None and alphas:
        alpha = alphas.pop(0)
    if beta is not None and betas:
        beta = betas.pop(0)
    return alpha or 0.0, beta or 0.0


def _function(call: Call, name: str, alpha: float, beta: float) -> _Function:
    known: dict[str, _Function] = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "affine": lambda x: alpha * x + beta,
        "leakyrelu": lambda x: torch.where(x < 0, alpha * x, x),
        "thresholdedrelu": lambda x: torch.where(x > alpha, x, torch.zeros_like(x)),
        "scaledtanh": lambda x: alpha * torch.tanh(beta * x),
        "hardsigmoid": lambda x: (alpha * x + beta).clamp(0.0, 1.0),
        "elu": lambda x: torch.where(x < 0, alpha * (torch.exp(x) - 1), x),
        "softsign": lambda x: x / (1 + x.abs()),
        "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    }
    if name.lower() not in known:
        raise call.refuse(f"has the activation {name}, which torch does not run")
    return known[name.lower()]


OPERATORS: Family = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
