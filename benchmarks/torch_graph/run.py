"""Real files in torch beside ONNX Runtime: who is accepted, and how far the outputs differ.

    python -m benchmarks.torch_graph.run [FOLDER ...] [--light]

Float weights are compared in single precision at ONNX Runtime's level 0; a file in half precision
is compared with its copy in single precision, for that is what torch trains.  The difference is
max |a - b| / max |b| over all outputs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from onnxslim_snacs.errors import SnacsError
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.stored import every_node, stored_tensors
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.network import open_network, run

SHARED = Path(__file__).resolve().parents[3] / "shared"
#: Sizes of inputs that cannot be guessed.
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "audio_silero_vad": {"input": (1, 512), "state": (2, 1, 128)},
    "text_nnsplit_en_lstm": {"input": (1, 100)},
    "audio_basic_pitch_nmp": {"serving_default_input_2:0": (1, 43844, 1)},
    "ocr_ch_ppocr_mobile_v20_cls_infer": {"x": (1, 3, 48, 192)},
    "ocr_ch_PP-OCRv3_det_infer": {"x": (1, 3, 320, 320)},
}
#: Inputs that are numbers with a meaning.
VALUES: dict[str, dict[str, NDArray[Any]]] = {
    "audio_silero_vad": {"sr": np.array(16000, dtype=np.int64)},
    "det_yolox_nano": {  # pixels: far from them, rounding grows
        "images": np.random.default_rng(0).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    },
}
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Compared:
    """One file: the largest relative difference, or what was said instead.

    `spread` is by how much ONNX Runtime differs from itself at its levels 0 and 3.
    """

    name: str
    difference: float | None
    note: str = ""
    parameters: int = 0
    spread: float = 0.0


def compare(path: Path) -> Compared:
    """Run a file in ONNX Runtime and in torch on the same seeded inputs."""
    try:
        graph = load_model(path)
    except SnacsError as error:
        return Compared(path.stem, None, f"refused: {error}")
    return compare_graph(path.stem, graph, path.with_suffix(".npz"))


def compare_graph(name: str, graph: ModelGraph, data: Path | None = None) -> Compared:
    """The same for a graph."""
    if any(t.data_type in _HALF for t in graph.graph.initializer):
        graph = ModelGraph(in_single(graph.proto), graph.base_dir)
    shapes = {k: v for k, v in SHAPES.get(name, {}).items() if k in graph.inputs}
    try:
        feeds = feeds_of(name, graph, shapes, data)
        wanted, other = (
            create_session(graph.proto, SessionConfig(level=level), graph.base_dir).run(None, feeds)
            for level in (0, 3)
        )
    except Exception as error:
        return Compared(name, None, f"ONNX Runtime: {str(error)[:120]}")
    try:
        network = open_network(graph)
        with torch.no_grad():
            outputs = run(network, feeds).outputs
    except SnacsError as error:
        return Compared(name, None, str(error)[:160])
    differences = [
        relative(np.asarray(w), outputs[n].detach().numpy())
        for n, w in zip(graph.outputs, wanted, strict=True)
        if not isinstance(w, list)
    ]
    own = (relative(a, b) for a, b in zip(wanted, other, strict=True) if not isinstance(a, list))
    count = sum(v.numel() for v in network.parameters.values())
    return Compared(name, max(differences, default=0.0), "", count, max(own, default=0.0))


def relative(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """Largest difference relative to the largest value; infinite if shapes differ."""
    if wanted.shape != got.shape:
        return float("inf")
    if wanted.size == 0:
        return 0.0
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    scale = np.abs(a[np.isfinite(a)]).max(initial=0.0) or 1.0
    return float(np.where(same, 0.0, np.abs(a - b)).max() / scale)


def feeds_of(
    name: str, graph: ModelGraph, shapes: dict[str, tuple[int, ...]], data: Path | None = None
) -> dict[str, NDArray[Any]]:
    """What the file's own data say, or normal numbers in the sizes with which the model runs."""
    given = VALUES.get(name, {})
    found: dict[str, NDArray[Any]]
    if given and {*shapes, *given} == set(graph.inputs):
        found = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
        found.update(given)
    elif data is not None and data.exists():
        return {key: value[:1] for key, value in np.load(data).items() if key in graph.inputs}
    else:
        feeds = read_facts(graph, shapes).feeds
        found = dict(feeds[0]) if feeds else _tried(graph)
    rng = np.random.default_rng(0)
    drawn = {
        key: rng.standard_normal(value.shape).astype(value.dtype)
        for key, value in found.items()
        if value.dtype.kind == "f" and key not in given
    }
    return {**found, **drawn}


def _tried(graph: ModelGraph) -> dict[str, NDArray[Any]]:
    """Inputs of the first sizes with which ONNX Runtime runs the model."""
    return dict(read_facts(graph).feeds[0])


def in_single(model: ModelProto) -> ModelProto:
    """A copy in which everything of half precision is in single."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for _, tensor in stored_tensors(copy):
        if tensor.data_type in _HALF:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for node in every_node(copy):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in _HALF:
                attribute.i = TensorProto.FLOAT
    for info in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if info.type.tensor_type.elem_type in _HALF:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    return copy


def light_models() -> Iterator[tuple[str, ModelGraph]]:
    """The light models of the onnx wheel with seeded weights in the place of their empty ones."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for path in sorted(folder.glob("light_*.onnx")):
        model = onnx.load(path)
        rng = np.random.default_rng(0)
        made = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for node in list(model.graph.node):
            if node.op_type != "ConstantOfShape" or node.input[0] not in made:
                continue
            shape = made[node.input[0]]
            fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
            values = np.abs if len(shape) == 1 else np.asarray
            array = values(rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
            model.graph.node.remove(node)
        yield path.stem, ModelGraph(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--light", action="store_true", help="the onnx wheel's light models, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folders = options.folders or [SHARED / "models", SHARED / "field"]
    print("| file | torch beside ONNX Runtime | ONNX Runtime's levels | trained parameters |")
    print("|---|---|---|---|")
    for folder in folders:
        for path in sorted(folder.glob("*.onnx")):
            show(compare(path))
    for name, graph in light_models() if options.light else ():
        show(compare_graph(name, graph))


def show(found: Compared) -> None:
    said = found.note if found.difference is None else f"{found.difference:.1e}"
    print(f"| {found.name} | {said} | {found.spread:.1e} | {found.parameters:,} |", flush=True)


if __name__ == "__main__":
    main()
