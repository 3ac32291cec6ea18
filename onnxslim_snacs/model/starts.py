"""Numbers with which the search for sizes begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnxslim_snacs.model.extents import InputExtents, Values, own, tied
from onnxslim_snacs.model.sizes import SCALES, first_values, kinds

#: Extents that are found out one by one; where there are more, inputs of like names go together.
MOST_FREE = 8

#: (batch, side, anything else) for inputs with more channels than a picture.
_SMALL = (2, 16, 8)

#: Shapes of an input that are known so far, None for an extent that is left open.
Hint = Mapping[str, Sequence[int | None]]


@dataclass(frozen=True, slots=True)
class Start:
    """Numbers to begin with.

    Attributes:
        layout: the extents that they are for.
        numbers: symbol -> number.
        held: symbols that the user, or the data, have given.
        correct: whether it is worth correcting what does not run.
    """

    layout: InputExtents
    numbers: Values
    held: frozenset[str] = frozenset()
    correct: bool = True


def starts(layout: InputExtents, given: Hint, examples: Sequence[Hint]) -> Iterator[Start]:
    """Numbers to begin with, the likeliest ones first.

    Args:
        layout: what the model declares.
        given: shapes that the user has named: tried, and held.
        examples: shapes of samples.
    """
    for example in examples:
        yield from _hinted(layout, {**example, **given})
    if given:
        yield from _hinted(layout, given)
        return
    for near in _layouts(layout):
        if _is_deep(near):
            yield Start(near, first_values(near, _SMALL, apart=True), correct=False)
            yield Start(near, first_values(near, _SMALL, apart=False), correct=False)
        apart, alike = (first_values(near, SCALES[0], apart=a) for a in (True, False))
        if apart != alike:  # a mask has the size of what it masks, whatever its axes are called
            yield Start(near, apart, correct=False)
            yield Start(near, alike, correct=False)
        yield Start(near, apart)
    plain, states = (_alike(layout, states=states) for states in (False, True))
    for last in (plain, states) if states != plain else (plain,):
        for scale in SCALES:
            yield Start(last, first_values(last, scale, apart=False), correct=False)
    alone = _split(layout)
    yield Start(alone, first_values(alone, SCALES[0], apart=False))


def _is_deep(layout: InputExtents) -> bool:
    """Whether an input has two free sides and more channels than a picture.

    Those are latents: attention over all their pixels would take gigabytes at a picture's size.
    """
    return any(
        len(row) == 4 and not row[1].terms and row[1].constant > 3 and row[2].terms and row[3].terms
        for row in layout.axes.values()
    )


def _hinted(layout: InputExtents, hint: Hint) -> Iterator[Start]:
    for near in (*_layouts(layout), _alike(layout, states=False), _split(layout)):
        solved = near.solve(hint)
        if solved is None:
            continue
        kind = kinds(near)
        # an extent of 0 is taken for what it is later on: it says nothing of what is behind it
        held = {s: n for s, n in solved.items() if n > 0 and s in kind}
        for scale in SCALES:
            free = first_values(near, scale, apart=scale == SCALES[0])
            yield Start(near, {**free, **held}, frozenset(held))
            if set(held) == set(kind):
                break
        if len(held) < len(solved):
            free = first_values(near, SCALES[0], apart=True)
            yield Start(near, {**free, **solved}, frozenset(solved))


def _layouts(layout: InputExtents) -> list[InputExtents]:
    """The declared extents if they are few; the same with those of inputs of like names as one."""
    stems = tied(layout, lambda symbol: _stem(symbol) if symbol.endswith("]") else None)
    if stems == layout:
        return [layout]
    return [layout, stems] if len(layout.symbols()) <= MOST_FREE else [stems]


def _alike(layout: InputExtents, *, states: bool) -> InputExtents:
    """The declared extents with those of the same kind as one."""
    kind = kinds(layout, states=states)
    return tied(layout, lambda symbol: kind[symbol])


def _stem(symbol: str) -> str:
    name, _, dim = symbol.rpartition("[")
    return "".join(c for c in name if not c.isdigit()) + "[" + dim


def _split(layout: InputExtents) -> InputExtents:
    """The layout without names: every axis that changes for itself."""
    return InputExtents(
        {
            name: tuple(own(name, k) if extent.terms else extent for k, extent in enumerate(row))
            for name, row in layout.axes.items()
        }
    )
