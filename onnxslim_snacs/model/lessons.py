"""What a run that failed says of the sizes: which extents met, and what they have to be.

A node that fails is asked, in a run of what lies before it, which numbers met there and how they
follow from the sizes.  Where one of them is exactly one dimension of an input (or a sum of them),
that dimension is no longer free: it is the constant, or the sum, that it has met.  Elsewhere a
fitting number is looked for, and nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache

from onnxslim_snacs.errors import LimitExceeded, RuntimeRefused
from onnxslim_snacs.model.extents import InputExtents, LinearExtent, Values
from onnxslim_snacs.model.meetings import Pair, meetings
from onnxslim_snacs.model.session import failing_node, input_session
from onnxslim_snacs.model.sizes import BATCH, SIDE, kinds, others, random_inputs
from onnxslim_snacs.model.trial import Bench

#: Numbers to look through where none follows.
_SCAN = (
    *range(2, 34),
    *(36, 40, 48, 50, 56, 60, 64, 80, 84, 96, 100, 112, 120, 128, 144, 160, 192, 196, 200, 224),
    *(227, 240, 256, 288, 299, 300, 320, 331, 384, 400, 416, 448, 480, 512, 600, 608, 640),
)

#: A number that is not made larger any more, and how many times larger others become.
_LARGEST, _TIMES = 1000, 4

#: Numbers -> what meets at the node that has failed; None where the run does not get there.
_Measure = Callable[[tuple[tuple[str, int], ...]], "list[Pair] | None"]


def learn(
    bench: Bench, layout: InputExtents, numbers: Values, error: Exception, held: frozenset[str]
) -> tuple[InputExtents, dict[str, int]] | None:
    """A layout and numbers at which the node that has failed may run."""
    position = failing_node(bench.graph, error)
    if position is None:
        return None
    measure = _measure(bench, layout, position)
    met = measure(_key(numbers))
    for number in _wrong(met or []):
        exact = _exactly(measure, numbers, number, held)
        if exact is not None:
            symbol, extent = exact
            left = {s: n for s, n in numbers.items() if s != symbol}
            return layout.put(symbol, extent), left
    if not met or not _wrong(met):
        return _larger(layout, numbers, held)
    found = _search(measure, numbers, held)
    return None if found is None else (layout, found)


def _larger(
    layout: InputExtents, numbers: Values, held: frozenset[str]
) -> tuple[InputExtents, dict[str, int]] | None:
    """Several times the numbers, where nothing else is known: a window may not fit into them."""
    kind = kinds(layout)
    grown = {
        s: n if s in held or kind[s] == BATCH or n > _LARGEST else _TIMES * n
        for s, n in numbers.items()
    }
    return (layout, grown) if grown != numbers else None


def _key(numbers: Values) -> tuple[tuple[str, int], ...]:
    return tuple(numbers.items())


def _measure(bench: Bench, layout: InputExtents, position: int) -> _Measure:
    node = bench.graph.nodes[position]
    try:
        session = input_session(bench.graph, position, bench.threads)
    except RuntimeRefused:  # a part that is no model by itself
        return lambda key: None

    @cache
    def measure(key: tuple[tuple[str, int], ...]) -> list[Pair] | None:
        sizes = layout.sizes(dict(key))
        if any(extent < 1 for shape in sizes.values() for extent in shape):
            return None
        try:
            shapes, values = session.probe(random_inputs(bench.graph, sizes, seed=0))
        except (RuntimeRefused, LimitExceeded):  # it fails before it gets there
            return None
        return meetings(
            node,
            [shapes[name] if name else () for name in node.input],
            {k: values[name] for k, name in enumerate(node.input) if name in values},
        )

    return measure


def _wrong(met: Sequence[Pair]) -> list[int]:
    """Positions of the pairs that are not as the node wants them."""
    return [k for k, (a, b, spread) in enumerate(met) if a != b and not (spread and 1 in (a, b))]


def _residue(measure: _Measure, numbers: Values, pair: int) -> int | None:
    met = measure(_key(numbers))
    return met[pair][0] - met[pair][1] if met and pair < len(met) else None


def _slopes(measure: _Measure, numbers: Values, pair: int, base: int) -> dict[str, Fraction]:
    """By how much the two numbers of a pair part for each one that is added to a symbol."""
    found = {}
    for symbol, number in numbers.items():
        for other in (number + 8, *others(number, SIDE)):
            moved = _residue(measure, {**numbers, symbol: other}, pair)
            if moved is not None:
                found[symbol] = Fraction(moved - base, other - number)
                break
    return {symbol: slope for symbol, slope in found.items() if slope}


def _exactly(
    measure: _Measure, numbers: Values, pair: int, held: frozenset[str]
) -> tuple[str, LinearExtent] | None:
    """A symbol, and what it has to be whatever the others are, for two numbers to meet."""
    base = _residue(measure, numbers, pair)
    slopes = _slopes(measure, numbers, pair, base) if base is not None else {}
    if base is None:
        return None
    found = []
    for symbol, slope in slopes.items():
        rest = {s: -c / slope for s, c in slopes.items() if s != symbol}
        constant = numbers[symbol] - base / slope - sum(c * numbers[s] for s, c in rest.items())
        if symbol in held or any(v.denominator != 1 for v in (slope, constant, *rest.values())):
            continue
        extent = LinearExtent(int(constant), tuple(sorted((s, int(c)) for s, c in rest.items())))
        if extent.at(numbers) >= 1:
            found.append((symbol, extent))
    # a total is the sum of its parts, not a part what is left of the total
    found.sort(key=lambda one: (any(f < 0 for _, f in one[1].terms), one[1].constant < 0))
    return next((one for one in found if _holds(measure, numbers, pair, slopes, *one)), None)


def _holds(
    measure: _Measure,
    numbers: Values,
    pair: int,
    slopes: Mapping[str, Fraction],
    symbol: str,
    extent: LinearExtent,
) -> bool:
    """Whether the numbers meet there and nowhere else, as far as a few more runs tell."""
    right = extent.at(numbers)
    told = 0
    for number in (right, right - 1, right + 1, 2, 3, 2 * right + 1):
        residue = _residue(measure, {**numbers, symbol: number}, pair) if number > 0 else None
        if residue is not None and residue != slopes[symbol] * (number - right):
            return False
        told += residue is not None and number != right
    for other, _ in extent.terms:
        moved = {**numbers, other: numbers[other] + 1}
        if _residue(measure, {**moved, symbol: extent.at(moved)}, pair) not in (0, None):
            return False
    return told > 0


def _search(measure: _Measure, numbers: Values, held: frozenset[str]) -> dict[str, int] | None:
    """Numbers at which everything meets, all that have to do with it alike, or one of them."""
    met = measure(_key(numbers)) or []
    involved: dict[str, None] = {}
    for pair in _wrong(met):
        slopes = _slopes(measure, numbers, pair, met[pair][0] - met[pair][1])
        involved.update(dict.fromkeys(s for s in slopes if s not in held))
    groups = [tuple(involved), *((s,) for s in involved)] if len(involved) > 1 else [(*involved,)]
    wanted = sorted({n for k in _wrong(met) for n in met[k][:2] if 1 < n <= max(_SCAN)})
    for group in filter(None, groups):
        near = _newton(measure, numbers, group)
        for number in dict.fromkeys((*near, *wanted, *_SCAN)):
            moved = {**numbers, **dict.fromkeys(group, number)}
            found = measure(_key(moved))
            if found and not _wrong(found):
                return moved
    return None


def _newton(measure: _Measure, numbers: Values, group: Sequence[str]) -> list[int]:
    """Numbers that come closer and closer to what the first wrong pair wants."""
    number, tried = max(numbers[s] for s in group), []
    for _ in range(8):
        here, there = (
            measure(_key({**numbers, **dict.fromkeys(group, n)})) for n in (number, number + 8)
        )
        wrong = _wrong(here or [])
        if not wrong or not here or not there or len(there) != len(here):
            break
        gap, next_gap = (one[wrong[0]][0] - one[wrong[0]][1] for one in (here, there))
        if gap == next_gap:
            break
        number = round(number - 8 * gap / (next_gap - gap))
        if number < 1 or number > 8 * max(_SCAN) or number in tried:
            break
        tried.append(number)
    return tried
