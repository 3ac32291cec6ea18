"""The same network as float, as QDQ and as QOperator, cut to half of its multiply-accumulates.

    python -m benchmarks.quantised.run [--only NAME ...] [--target 0.5] [--seeds 3]
        [--readme README.md]

Each network is quantised by `onnxruntime.quantization` with 200 of its calibration images, and each
form is compressed by itself (`compress --data D --target macs=0.5`, all defaults).  What counts is
how often a cut model answers as its own original does, on images that neither has seen; the mean
over some seeds, since two allocations of the same budget can lie points apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.accuracy.networks import NETWORKS, Network
from benchmarks.marked import put_into
from onnxslim_snacs import CompressConfig, DataConfig, SnacsError, compress

NAMES = ("bundled digits", "ResNet-8", "ResNet-20 dynamo", "ViT")
#: The first operator set whose DequantizeLinear has scales by channel.
CHANNELS = 13
#: Images for the ranges of the quantisers, and images on which agreement is taken.
RANGES, TESTED = 200, 2000


@dataclass(frozen=True)
class Form:
    """How a network is stored."""

    name: str
    operators: bool = False
    per_channel: bool = False


FORMS = (
    Form("QDQ, per tensor"),
    Form("QDQ, per channel", per_channel=True),
    Form("QOperator, per tensor", operators=True),
    Form("QOperator, per channel", operators=True, per_channel=True),
)


class _Reader:
    """Calibration images one by one, as the quantiser wants them."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self.rows = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.rows, None)


def quantised(network: Network, form: Form, images: NDArray[np.float32], folder: Path) -> Path:
    """The network in another form: eight bits, weights signed, activations unsigned."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, out = folder / "prepared.onnx", folder / "quantised.onnx"
    model = onnx.load(network.path)
    version = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if version < CHANNELS:
        model = onnx.version_converter.convert_version(model, CHANNELS)
    onnx.save(model, str(folder / "model.onnx"))
    quant_pre_process(str(folder / "model.onnx"), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(out),
        _Reader(network.given, images),
        quant_format=QuantFormat.QOperator if form.operators else QuantFormat.QDQ,
        per_channel=form.per_channel,
        reduce_range=True,  # processors without VNNI saturate in sixteen bits
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return out


def answers(model: bytes, name: str, images: NDArray[np.float32]) -> NDArray[np.int64]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options)
    parts = np.array_split(images, max(1, len(images) // 100))
    return np.concatenate([session.run(None, {name: p})[0].argmax(1) for p in parts])


def rows(network: Network, target: float, seeds: int) -> Iterator[dict[str, Any]]:
    """The float network first, then each form."""
    samples = network.samples()
    unseen = samples.unseen[:TESTED]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data.npz"
        np.savez(data, **{network.given: samples.calibration})
        for form in (None, *FORMS):
            told: dict[str, Any] = {
                "network": network.name,
                "form": "float" if form is None else form.name,
            }
            path = network.path
            if form is not None:
                path = quantised(network, form, samples.calibration[:RANGES], folder)
            whole = path.read_bytes()
            test = answers(whole, network.given, samples.test)
            wanted = answers(whole, network.given, unseen)
            told["top1_before"] = float((test == samples.labels).mean())
            given = {"data": DataConfig(str(data)), "target": {"macs": target}}
            made = []
            for seed in range(seeds):
                try:
                    done = compress(path, CompressConfig(**given, seed=seed))
                except SnacsError as error:
                    told["refused"] = f"{type(error).__name__}: {error}"[:300]
                    break
                model, report = done.model.SerializeToString(), done.report
                tested = answers(model, network.given, samples.test)
                got = answers(model, network.given, unseen)
                made.append(
                    (
                        report.after.macs / report.before.macs,
                        report.after.params / report.before.params,
                        float((tested == samples.labels).mean()),
                        float((got == wanted).mean()),
                    )
                )
            if made:
                told |= dict(zip(("macs", "params", "top1", "agreement"), mean(made), strict=True))
                told["runs"] = [run[-1] for run in made]
            yield told


def mean(rows: list[tuple[float, ...]]) -> list[float]:
    return [float(value) for value in np.mean(rows, axis=0)]


def markdown(found: list[dict[str, Any]]) -> str:
    """The rows as a table; the last column is the agreement beside that of the float twin."""
    lines = [
        "| network | form | MACs | params | top-1 before | top-1 | agreement | beside float |",
        "|---|---|---|---|---|---|---|---|",
    ]
    twins = {r["network"]: r["agreement"] for r in found if r["form"] == "float"}
    for row in found:
        head = f"| {row['network']} | {row['form']} |"
        if "refused" in row:
            lines.append(f"{head} {row['refused']} |")
            continue
        beside = 100 * (row["agreement"] - twins[row["network"]])
        shares = [f"{row[key]:.3f}" for key in ("macs", "params")]
        rates = [f"{100 * row[key]:.1f}" for key in ("top1_before", "top1", "agreement")]
        last = "" if row["form"] == "float" else f"{beside:+.1f}"
        lines.append(f"{head} {' | '.join([*shares, *rates, last])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(NAMES))
    parser.add_argument("--target", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--readme", type=Path)
    options = parser.parse_args()
    found = []
    for name in options.only:
        for row in rows(NETWORKS[name], options.target, options.seeds):
            print(json.dumps(row), file=sys.stderr, flush=True)
            found.append(row)
    table = markdown(found)
    if options.readme:
        put_into(options.readme, "table", table)
    print(table)


if __name__ == "__main__":
    main()
