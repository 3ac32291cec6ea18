"""What is told of channels that stay: the cause, and not merely that an axis has parts."""

from __future__ import annotations

import re

import numpy as np
import pytest

from onnxslim_snacs.ir.explain import HELD_PARTS, behind_split
from onnxslim_snacs.ir.table import SlotTable
from onnxslim_snacs.ir.types import Axis, Pin, Split, Stated, virtual_axis
from onnxslim_snacs.ir.why import chain_of, chain_to_pin
from onnxslim_snacs.ops.analyse import Analysis
from tests.harness import Fixture, fixtures, model_from_text, read

SOFTMAX = (
    "Softmax runs over this axis, so that what is left would change (--allow-inexact lets it go)"
)
OUTPUT = "graph output"

#: What holds both the groups of a convolution and the filters of each -> the axis and the reason.
CASES = {
    "both parts are an output": (
        "(float[1,2,3,5] y)",
        "y = Reshape(g, parts)",
        ("y[1]", OUTPUT),
    ),
    "a mean over each part, the other is an output": (
        "(float[1,2,5] z, float[1,3,5] y)",
        """p = Reshape(g, parts)
           z = ReduceMean<axes=[2], keepdims=0>(p)
           y = ReduceMean<axes=[1], keepdims=0>(p)""",
        ("z[1]", OUTPUT),
    ),
    "a normalisation over each part": (
        "(float[1,6,5] y)",
        """p = Reshape(g, parts)
           q = Softmax<axis=2>(p)
           r = Softmax<axis=1>(q)
           t = Transpose<perm=[0,2,1,3]>(r)
           y = Reshape(t, whole)""",
        ("q[1]", SOFTMAX),
    ),
    "an output that both are merged into with something else": (
        "(float[1,30] y)",
        "y = Flatten(g)",
        ("y[1]", OUTPUT),
    ),
    "parts that are merged again before the output": (
        "(float[1,6,5] y)",
        """p = Reshape(g, parts)
           r = Relu(p)
           y = Reshape(r, whole)""",
        ("y[1]", OUTPUT),
    ),
}


def grouped(outputs: str, behind: str) -> Analysis:
    """A grouped convolution with something behind it that holds its channels."""
    return read(
        model_from_text(
            f"""<ir_version: 8, opset_import: ["" : 17]>
            net (float[1,3,5] x, float[4,3,1] w_a, float[6,2,1] w_g, float[3,4] w_e)
                => {outputs}
            <int64[4] parts = {{1, 2, 3, 5}}, int64[3] whole = {{1, 6, 5}}> {{
              a = Conv(x, w_a)
              g = Conv<group=2>(a, w_g)
              {behind}
            }}"""
        )
    )


@pytest.mark.parametrize(("outputs", "behind", "cause"), CASES.values(), ids=list(CASES))
def test_what_holds_the_parts_of_an_axis_is_told(
    outputs: str, behind: str, cause: tuple[str, str]
) -> None:
    analysis = grouped(outputs, behind)
    assert [group.units for group in analysis.ir.groups] == [2]  # the inputs of each group
    told = [(pin.axis, pin.reason) for pin in analysis.ir.pins]
    assert cause in told
    assert HELD_PARTS not in {reason for _, reason in told}


@pytest.mark.parametrize(("outputs", "behind", "cause"), CASES.values(), ids=list(CASES))
def test_the_chain_goes_on_to_what_holds_the_parts(
    outputs: str, behind: str, cause: tuple[str, str]
) -> None:
    axis, reason = cause
    chain = chain_to_pin(grouped(outputs, behind).ir, "w_g", 3)[0]
    parts = next(k for k, link in enumerate(chain) if HELD_PARTS in link.because)
    assert (chain[parts].axis, chain[parts].because) == (
        "g[1]",
        f"pinned by g (Conv): {HELD_PARTS}",
    )
    rest = chain[parts + 1 :]
    assert all(link.because.startswith("and a part of it is pinned by ") for link in rest)
    assert (axis, reason) in [(link.axis, link.because.partition(": ")[2]) for link in rest]


@pytest.mark.parametrize("fixture", fixtures(), ids=lambda fixture: fixture.title)
def test_chains_end_at_the_pins_that_are_listed_and_no_group_lies_there(fixture: Fixture) -> None:
    ir = read(fixture.model, allow_inexact=fixture.allow_inexact).ir
    listed = {(pin.axis, f"{pin.node} ({pin.op}): {pin.reason}") for pin in ir.pins}
    named: set[tuple[str, str]] = set()
    channels = {a for _, sink in ir.sinks for a in (sink.axis, sink.weight_out, sink.out) if a}
    for axis in channels:
        if axis not in ir.table or ir.table.extent(axis) == 1:
            continue
        head, *links = chain_of(ir, axis)
        if not links:
            continue
        ends = [(link.axis, link.because.partition("pinned by ")[2]) for link in links]
        assert listed & set(ends), head
        named.update(ends)
        stuck, whole = (int(number) for number in re.findall(r"^(\d+) of (\d+)", head.because)[0])
        lying = [index for group in ir.groups if (index := group.on(axis)) is not None]
        assert stuck + len({slot for index in lying for slot in index.ravel()}) <= whole
    assert listed <= named


def test_each_factor_may_be_held_by_something_else() -> None:
    """Whole groups are an output, and a softmax runs over the filters of each."""
    analysis = grouped(
        "(float[1,2,5] y)",
        """p = Reshape(g, parts)
           s = Softmax<axis=2>(p)
           y = ReduceMean<axes=[2], keepdims=0>(s)""",
    )
    told = {(pin.axis, pin.reason) for pin in analysis.ir.pins}
    assert {("y[1]", OUTPUT), ("p[2]", SOFTMAX)} <= told


def test_one_free_factor_is_enough_to_go() -> None:
    """Whole groups are an output, but a product sums over the filters of each."""
    analysis = grouped(
        "(float[1,2,5,4] y)",
        """p = Reshape(g, parts)
           t = Transpose<perm=[0,1,3,2]>(p)
           y = MatMul(t, w_e)""",
    )
    assert 3 in [group.units for group in analysis.ir.groups]
    (link,) = chain_to_pin(analysis.ir, "w_g", 3)[0]
    assert link.because == "is free to be pruned"


def test_an_axis_without_slots_holds_nothing() -> None:
    """Rows of a flattened batch: their number changes with the input, so they have no slots."""
    rows, heads, batch = Axis("f", 0), Axis("s", 1), Axis("s", 0)
    pin = Stated(0, "s", "Softmax", Pin(heads, "a reason"))
    split = Stated(1, "f", "Flatten", Split(rows, (batch, heads)))
    table = SlotTable()
    table.add(heads, 3)
    held = behind_split([pin, split], table, np.zeros(3, dtype=np.int64), 1)
    assert held == (0,)
    nobody = behind_split([pin, split], table, np.full(3, -1, dtype=np.int64), 1)
    assert nobody == (1,)


def test_axes_of_no_tensor_are_named_as_a_person_would() -> None:
    assert str(virtual_axis("lstm_1", "hidden units")) == "hidden units of lstm_1"
    assert str(Axis("w", 1)) == "w[1]"
