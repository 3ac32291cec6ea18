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
from onnxslim_snacs.model.meetings import Met, meetings
from onnxslim_snacs.model.probes import failing_node, input_session
from onnxslim_snacs.model.sizes import BATCH, SIDE, kinds, others, random_inputs
from onnxslim_snacs.model.trial import Bench

#: Numbers to look through where none follows: sides of images, lengths.
_USUAL = (32, 64, 128, 224, 256, 299, 512, 96, 28, 1)
#: The largest number that is looked for.
_FARTHEST = 1 << 16
#: Divisors that are tried of a number that something has to be a multiple of.
_DIVISORS = 640
#: A number that is not made larger any more, and how many times larger others become.
_LARGEST, _TIMES = 1000, 4

#: Numbers -> what meets at the node that has failed; None where the run does not get there.
_Measure = Callable[[tuple[tuple[str, int], ...]], "list[Met] | None"]


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
    batches = {symbol for symbol, kind in kinds(layout).items() if kind == BATCH}
    found = _search(measure, numbers, held, batches)
    if found is None:
        return None
    least = [s for s, number in found.items() if number == 1 != numbers[s]]
    if least and all(_off(measure, {**found, s: 2}) for s in least):
        layout = _fixed(layout, dict.fromkeys(least, 1))  # nothing smaller, and no larger one fits
    return layout, {s: n for s, n in found.items() if s in layout.symbols()}


def _off(measure: _Measure, numbers: Values) -> bool:
    met = measure(_key(numbers))
    return met is not None and bool(_wrong(met))


def _fixed(layout: InputExtents, numbers: Values) -> InputExtents:
    for symbol, number in numbers.items():
        layout = layout.put(symbol, LinearExtent(number))
    return layout


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
    def measure(key: tuple[tuple[str, int], ...]) -> list[Met] | None:
        sizes = layout.sizes(dict(key))
        empty = any(0 in shape for shape in sizes.values())
        if empty or not bench.affords(sizes) or bench.is_late():
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


def _wrong(met: Sequence[Met]) -> list[int]:
    """Positions of the pairs that are not as the node wants them."""
    return [k for k, (a, b, spread, _) in enumerate(met) if a != b and not (spread and 1 in (a, b))]


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
    found += _constants(measure, numbers, pair, slopes, base, held)
    return next((one for one in found if _holds(measure, numbers, pair, slopes, *one)), None)


def _constants(
    measure: _Measure,
    numbers: Values,
    pair: int,
    slopes: Mapping[str, Fraction],
    base: int,
    held: frozenset[str],
) -> list[tuple[str, LinearExtent]]:
    """Symbols that have to be one number whatever the others are.

    Where numbers of elements meet, N * (T - 7) parts them: linear in each, in both together not.
    """
    found = []
    for symbol, slope in slopes.items():
        right = numbers[symbol] - base / slope
        if symbol in held or right.denominator != 1 or right < 1:
            continue
        others_moved = [{**numbers, o: numbers[o] + 1} for o in slopes if o != symbol]
        there = [_residue(measure, {**m, symbol: int(right)}, pair) for m in others_moved]
        beside = [_residue(measure, {**m, symbol: int(right) + 1}, pair) for m in others_moved]
        if 0 in there and not any(there) and 0 not in beside:
            found.append((symbol, LinearExtent(int(right))))
    return found


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


def _search(
    measure: _Measure, numbers: Values, held: frozenset[str], batches: set[str]
) -> dict[str, int] | None:
    """Numbers at which everything meets: of all that have to do with it alike, or of one of them.

    That of a batch is changed last.
    """
    met = measure(_key(numbers)) or []
    involved: dict[str, None] = {}
    for pair in _wrong(met):
        slopes = _slopes(measure, numbers, pair, met[pair][0] - met[pair][1])
        involved.update(dict.fromkeys(s for s in slopes if s not in held))
    inner = tuple(s for s in involved if s not in batches)
    outer = tuple(s for s in involved if s in batches)
    groups = dict.fromkeys((inner, *((s,) for s in inner), *((s,) for s in outer)))
    wanted = [n for k in _wrong(met) for n in (*met[k][:2], met[k].multiple) if n > 1]
    parts = sorted({d for n in wanted for d in range(2, min(n, _DIVISORS) + 1) if n % d == 0})
    for group in filter(None, groups):
        near = _bisected(measure, numbers, group, _wrong(met)[0])
        for number in dict.fromkeys((*near, *parts, *wanted, *_USUAL)):
            moved = {**numbers, **dict.fromkeys(group, number)}
            found = measure(_key(moved))
            if found and not _wrong(found):
                return moved
    return None


def _bisected(measure: _Measure, numbers: Values, group: Sequence[str], pair: int) -> list[int]:
    """The number at which a pair meets, if what parts it grows or falls with the number."""
    top = max(numbers[s] for s in group)

    def residue(number: int) -> int | None:
        return _residue(measure, {**numbers, **dict.fromkeys(group, number)}, pair)

    here, further = residue(top), residue(top + 8)
    if here is None or further is None or here == further:
        return []
    sign = 1 if further > here else -1

    def gap(number: int) -> int:
        found = residue(number)  # where the run does not get there, the number is too small
        return -1 if found is None else sign * found

    low = 0
    while gap(top) < 0 and top < _FARTHEST:
        low, top = top, 2 * top
    while top - low > 1 and gap(top) > 0:
        middle = (low + top) // 2
        low, top = (low, middle) if gap(middle) >= 0 else (middle, top)
    return [top]
