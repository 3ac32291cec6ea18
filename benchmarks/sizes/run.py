"""Every axis made dynamic: the cut file at sizes that neither the analysis nor the proof has seen.

    python -m benchmarks.sizes.run MODEL_OR_FOLDER ... [--only GLOB] [--out TABLE.md]

Each model is written anew with dynamic dimensions, each under a name of its own: once all of them
(batch, height, width, sequence and what looks like channels), once all but the second.  It is
compressed (half of every group, L1), and the file that comes out is run beside the masked original
at five sizes at which the original runs.  Equal at all of them, or refused by `compress`: anything
else fails, and the sweep ends with 1.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
from onnx import ModelProto

from onnxslim_snacs import CompressConfig, compress
from onnxslim_snacs.errors import SnacsError
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.sizes import Sizes, random_inputs
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.proof.difference import worst_difference
from onnxslim_snacs.proof.oracle import masked_original

#: Sizes at which each file is compared, and how many are tried to find them.
SIZES, DRAWS = 5, 60
#: Bytes of address space: mutants of audio models can ask for any amount.
MEMORY = 6 << 30
#: Half precision, and everything else.
ALLOWED = {True: 2e-2, False: 1e-4}
VARIANTS = ("all", "all but the second")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        model: the file.
        variant: which axes are dynamic.
        kept: share of the parameters that is left.
        sizes: at how many sizes the two were compared.
        worst: largest relative difference.
        stuck: dimensions that `compress` says it could not vary.
        note: why there is no file, or what went wrong.
        seconds: for all of it.
    """

    model: str
    variant: str
    kept: float | None = None
    sizes: int = 0
    worst: float = 0.0
    stuck: tuple[str, ...] = ()
    note: str = ""
    failed: bool = False
    seconds: float = 0.0


def out_of_memory(error: Exception) -> bool:
    """Whether that is what an error says."""
    told = ("bad_alloc", "bad allocation", "Failed to allocate", "can't allocate memory")
    return isinstance(error, MemoryError) or any(text in str(error) for text in told)


def mutant(model: ModelProto, variant: str) -> ModelProto:
    """The model with dynamic dimensions."""
    copy = ModelProto()
    copy.CopyFrom(model)
    stored = {t.name for t in copy.graph.initializer}
    del copy.graph.value_info[:]
    for info in (*copy.graph.input, *copy.graph.output):
        if info.name in stored:
            continue
        is_input = any(info.name == v.name for v in copy.graph.input)
        for k, dim in enumerate(info.type.tensor_type.shape.dim):
            if not (is_input and variant != "all" and k == 1):
                dim.Clear()
                dim.dim_param = f"{info.name}_{k}".replace(".", "_").replace(":", "_")
    return copy


def draws(analysis: Analysis, declared: Sizes, seed: int) -> Iterator[dict[str, tuple[int, ...]]]:
    """Sizes around the declared ones and around those of the analysis, in a random order."""
    rng = np.random.default_rng(seed)
    settled = analysis.facts.settled
    bases = [declared] + ([t.sizes for t in settled.trials] if settled else [])
    yield dict(declared)
    for _ in range(DRAWS):
        base = bases[int(rng.integers(len(bases)))]
        batch, share = int(rng.integers(1, 12)), float(rng.choice([0.5, 0.75, 1.25, 1.5, 2, 1, 1]))
        step, alike = int(rng.choice([0, 0, 1, 3, 16, 32])), bool(rng.random() < 0.6)
        sizes = {}
        for name, shape in base.items():
            moved = []
            for k, extent in enumerate(shape):
                change = alike or rng.random() < 0.5
                wide = max(1, int(extent * share) + step) if change and extent > 4 else extent
                moved.append(batch if k == 0 and rng.random() < 0.8 else wide)
            sizes[name] = tuple(moved)
        yield sizes


def compare(name: str, model: ModelProto, variant: str, folder: Path) -> Row:
    """Compress a mutant, and compare what comes out at other sizes."""
    path, out = folder / "mutant.onnx", folder / "out.onnx"
    for file in (path, out):
        file.unlink(missing_ok=True)
    onnx.save(mutant(model, variant), path)
    config = CompressConfig(ratio=0.5, criterion="l1", recover="none")
    try:
        done = compress(path, config, out=out)
    except SnacsError as error:
        kind, why = type(error).__name__, str(error).removeprefix(f"{path}: ")
        refused = kind in ("InputRefused", "NothingToPrune")
        return Row(name, variant, note=f"{kind}: {why}", failed=not refused)
    report = done.report
    assert report.proof is not None
    kept = report.after.params / max(1, report.before.params)
    analysis = analyse(load_model(path), input_shapes=done.plan.sizes)
    keep = keep_map(analysis.ir, done.plan.kept())
    seen = [dict(sizes) for sizes in report.proof.sizes]
    if analysis.facts.settled is not None:
        seen += [trial.sizes for trial in analysis.facts.settled.trials]
    declared = {
        v.name: tuple(max(d.dim_value, 0) or 2 for d in v.type.tensor_type.shape.dim)
        for v in model.graph.input
        if v.name in analysis.graph.inputs
    }
    whole, cut = (
        create_session(m, SessionConfig(level=0))
        for m in (masked_original(analysis, keep), onnx.load(out))
    )
    original = create_session(analysis.graph.proto, SessionConfig(level=0))
    wanted, got, used = [], [], list(seen)
    most = 2 * max(sum(map(prod, sizes.values())) for sizes in (declared, *seen))
    for seed, sizes in enumerate(draws(analysis, declared, 1)):
        large = sum(map(prod, sizes.values())) > most
        if sizes in used or large or len(wanted) == SIZES:
            continue
        feeds = random_inputs(analysis.graph, sizes, seed)
        try:
            original.run(None, feeds)
        except Exception as error:  # no size of this model
            if out_of_memory(error):
                raise
            continue
        used.append(sizes)
        try:
            wanted.append(whole.run(None, feeds))
            got.append(cut.run(None, feeds))
        except Exception as error:
            note = f"at {sizes}: {str(error)[:200]}"
            return Row(name, variant, kept, len(got), np.inf, report.proof.unvaried, note, True)
    pairs = zip(zip(*wanted, strict=True), zip(*got, strict=True), strict=True)
    worst = max((worst_difference(list(a), list(b), 1.0) for a, b in pairs), default=0.0)
    failed = worst > ALLOWED[analysis.is_half]
    return Row(name, variant, kept, len(got), worst, report.proof.unvaried, "", failed)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    lines = [
        "| model | dynamic | parameters kept | sizes | largest difference | not varied | refused |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        kept = "" if row.kept is None else f"{row.kept:.2f}"
        worst = f"{row.worst:.1e}" if row.sizes else ""
        note = row.note.replace("|", "/").replace("\n", " ")[:120]
        mark = "**FAILED** " if row.failed else ""
        stuck = ", ".join(row.stuck).replace("|", "/")
        lines.append(
            f"| {row.model} | {row.variant} | {kept} | {row.sizes or ''} | {worst} | {stuck} | "
            f"{mark}{note} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--only", default="*")
    parser.add_argument("--out", type=Path, help="write the table here")
    arguments = parser.parse_args()
    files = [f for p in arguments.paths for f in (sorted(p.glob("*.onnx")) if p.is_dir() else [p])]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            if not fnmatchcase(file.stem, arguments.only):
                continue
            model = onnx.load(file)
            for variant in VARIANTS:
                start = perf_counter()
                try:
                    row = compare(file.stem, model, variant, Path(folder))
                except Exception as error:
                    if not out_of_memory(error):
                        raise
                    row = Row(file.stem, variant, note="not compared: out of memory")
                rows.append(row)
                if arguments.out is not None:
                    arguments.out.write_text(markdown(rows))
                print(
                    f"{perf_counter() - start:6.1f} s  {file.stem:45s} {variant:20s} "
                    f"kept {row.kept} sizes {row.sizes} worst {row.worst:.1e} {row.stuck} "
                    f"{'FAILED ' if row.failed else ''}{row.note[:150]}",
                    file=sys.stderr,
                    flush=True,
                )
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
