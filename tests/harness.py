"""Fixtures as ONNX text, and the check to which every cut model is held."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper, parser

from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.sizes import default_sizes
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.oracle import masked_original
from tests.conftest import SHARED

FIXTURES = Path(__file__).parent / "ops" / "fixtures"


@dataclass(frozen=True)
class Fixture:
    title: str
    groups: tuple[int, ...]
    model: ModelProto
    allow_inexact: bool
    options: dict[str, str]


def cifar(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (count, 3, 32, 32) and labels (count,) of the first training images of CIFAR-10."""
    path = SHARED / "data" / "cifar10" / "data_batch_1.bin"
    records = np.fromfile(path, np.uint8, count * 3073).reshape(count, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def fixtures() -> list[Fixture]:
    return [f for path in sorted(FIXTURES.glob("*.txt")) for f in read_fixtures(path)]


def read_fixtures(path: Path) -> list[Fixture]:
    found = []
    for part in re.split(r"(?m)^(?=# title:)", path.read_text()):
        if not part.strip():
            continue
        options = dict(re.findall(r"(?m)^# (\w[\w-]*):[ \t]*(.*)$", part))
        text = re.sub(r"(?m)^#.*$", "", part)
        groups = tuple(int(g) for g in options["groups"].split())
        title = f"{path.stem}: {options['title']}"
        found.append(
            Fixture(title, groups, model_from_text(text), "allow-inexact" in options, options)
        )
    return found


def model_from_text(text: str, seed: int = 0, *, integers: bool = True) -> ModelProto:
    """Parse a model; inputs named w_... become seeded initializers."""
    model = parser.parse_model(text)
    rng = np.random.default_rng(seed)
    weights = [v for v in model.graph.input if v.name.startswith("w_")]
    for info in weights:
        model.graph.input.remove(info)
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        values = small_integers(rng, shape) if integers else rng.standard_normal(shape)
        model.graph.initializer.append(numpy_helper.from_array(values.astype(dtype), info.name))
    check(model)
    return model


def check(model: ModelProto, *, full: bool = False) -> None:
    """The checker, unless ONNX Runtime has operators in this model that ONNX has not."""
    versions = {o.domain: o.version for o in model.opset_import}
    for node in model.graph.node:
        if node.domain in ("", "ai.onnx"):
            version = versions[""]
            known = onnx.defs.has(node.op_type, version)
            if not known or onnx.defs.get_schema(node.op_type, version).deprecated:
                return
    onnx.checker.check_model(model, full_check=full)


def small_integers(rng: np.random.Generator, shape: Any) -> NDArray[Any]:
    """Integers in -2 ... 2 without 0: every channel matters, and sums stay exact."""
    values: NDArray[Any] = rng.choice(np.array([-2, -1, 1, 2]), size=shape)
    return values


def random_keep(analysis: Analysis, ratio: float, seed: int) -> KeepMap:
    """Drop about the share `ratio` of every group, at least one unit where there are two."""
    return keep_map(analysis.ir, random_kept(analysis, ratio, seed))


def random_kept(analysis: Analysis, ratio: float, seed: int) -> dict[str, NDArray[np.bool_]]:
    """The same as a decision: group id -> (units,) whether each unit stays."""
    rng = np.random.default_rng(seed)
    kept = {}
    for group in analysis.ir.groups:
        drop = min(group.units - 1, max(1, round(ratio * group.units)))
        mask = np.ones(group.units, dtype=bool)
        mask[rng.permutation(group.units)[:drop]] = False
        kept[group.id] = mask
    return kept


def integer_feeds(analysis: Analysis, seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    graph, facts = analysis.graph, analysis.facts
    feeds = {}
    for info in graph.graph.input:
        if info.name not in graph.inputs:
            continue
        seen = facts.samples(info.name)
        shape = seen[0] if seen else default_sizes(graph, {})[info.name]
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        whole = (
            rng.integers(0, 2, size=shape)
            if dtype.kind in "iub"
            else rng.integers(-3, 4, size=shape)
        )
        feeds[info.name] = whole.astype(dtype)
    return feeds


def run(model: ModelProto, feeds: dict[str, NDArray[Any]], level: int) -> list[NDArray[Any]]:
    session = create_session(model, SessionConfig(level=level))
    return [np.asarray(o) for o in session.run(None, feeds)]


def read(model: ModelProto, **options: Any) -> Analysis:
    return analyse(ModelGraph(model), **options)


def assert_exact(
    analysis: Analysis,
    keep: KeepMap,
    seed: int = 0,
    levels: tuple[int, ...] = (0, 3),
    rtol: float = 0.0,
) -> ModelProto:
    """The cut model must equal the masked original; bit for bit unless rtol is given."""
    pruned = prune(analysis, keep)
    check(pruned, full=True)
    masked = masked_original(analysis, keep)
    feeds = integer_feeds(analysis, seed)
    for level in levels:
        wanted, got = run(masked, feeds, level), run(pruned, feeds, level)
        for a, b in zip(wanted, got, strict=True):
            if rtol:
                scale = np.abs(a).max() or 1.0
                assert np.abs(a.astype(np.float64) - b.astype(np.float64)).max() / scale <= rtol
            else:
                np.testing.assert_array_equal(a, b)
    assert_same_interface(analysis.graph.proto, pruned)
    return pruned


def assert_same_interface(before: ModelProto, after: ModelProto) -> None:
    constants = {t.name for t in before.graph.initializer}
    for field in ("input", "output"):
        old = [v for v in getattr(before.graph, field) if v.name not in constants]
        new_constants = {t.name for t in after.graph.initializer}
        new = [v for v in getattr(after.graph, field) if v.name not in new_constants]
        assert [v.SerializeToString() for v in old] == [v.SerializeToString() for v in new]
    assert list(before.opset_import) == list(after.opset_import)
    assert list(before.metadata_props) == list(after.metadata_props)
