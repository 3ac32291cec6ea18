"""What convolutions read, pooled tap by tap, so that their pooled outputs follow exactly.

The mean of a convolution's output is the product of its filters with the means of the patches that
they see.  At borders these are not those of the input: every tap sees its own part of it, and
zeros.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, ModelProto, NodeProto, helper

from onnxslim_snacs.activations.run import batch_size, execute, open_session, trimmed
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.layers.pairs import Pair
from onnxslim_snacs.model.edit import add_initializer
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.scores.criterion import ScoreContext

#: Samples in a run: a tensor is held once for each tap.
_BATCH = 8

Pooled = dict[int, npt.NDArray[np.float32]]


def pooled_taps(
    context: ScoreContext, source: CalibrationSource, pairs: Iterable[Pair], classes: Axis | None
) -> tuple[Pooled, npt.NDArray[np.int64] | None]:
    """Pooled patches of ungrouped convolutions with several taps, or with strides.

    Args:
        context: the model, and how to run it.
        source: the samples.
        pairs: layers; others than such convolutions are passed over.
        classes: the axis of an output that ranks classes.

    Returns:
        (position of a node -> axes (sample, parent, tap), the classes of the samples: labels if
        there are any, else the model's own answers; None without).
    """
    analysis = context.analysis
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    wanted = {p.node: p for p in pairs if _is_spread(analysis, p)}
    names = {node: _add_taps(analysis, model, pair) for node, pair in wanted.items()}
    asked = [*names.values(), *([classes.tensor] if classes is not None else [])]
    if not asked:
        return {}, None
    watched = [name for name in asked if name not in analysis.graph.outputs]
    session = open_session(model, context.session, analysis.graph.base_dir, watched)
    rows: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in asked}
    labels = []
    size = min(_BATCH, batch_size(analysis.facts, source, asked))
    for batch in source.batches(size):
        for name, value in zip(asked, execute(session, asked, batch.inputs), strict=True):
            rows[name].append(trimmed(value, batch))
        if batch.labels is not None:
            labels.append(batch.labels)
    found = {
        node: np.concatenate(rows[name]).reshape(-1, pair.weight.shape[1], _taps(analysis, pair))
        for (node, name), pair in zip(names.items(), wanted.values(), strict=True)
    }
    if labels:
        return found, np.concatenate(labels)
    if classes is None:
        return found, None
    answers: npt.NDArray[np.int64] = np.concatenate(rows[classes.tensor]).argmax(axis=1)
    return found, answers


def _is_spread(analysis: Analysis, pair: Pair) -> bool:
    """Whether a layer is a plain convolution that sees other positions than all of its input's."""
    node = analysis.nodes[pair.node]
    if node.op != "Conv" or pair.groups != 1:
        return False
    strides = next((a.ints for a in node.proto.attribute if a.name == "strides"), ())
    return _taps(analysis, pair) > 1 or any(step > 1 for step in strides)


def _kernel(analysis: Analysis, pair: Pair) -> tuple[int, ...]:
    shape = analysis.facts.shape(analysis.nodes[pair.node].inputs[1]) or ()
    return tuple(int(extent or 1) for extent in shape[2:])


def _taps(analysis: Analysis, pair: Pair) -> int:
    return int(np.prod(_kernel(analysis, pair), dtype=np.int64))


def _add_taps(analysis: Analysis, model: ModelProto, pair: Pair) -> str:
    """Let the model pool what each tap of a convolution sees.

    Returns:
        The tensor that holds it, axes (sample, parent x tap, 1 ...).
    """
    node = analysis.nodes[pair.node]
    kernel, taps = _kernel(analysis, pair), _taps(analysis, pair)
    parents = pair.weight.shape[1]
    weight = analysis.facts.value(node.inputs[1])
    dtype = np.float32 if weight is None else weight.dtype
    each = np.eye(taps, dtype=dtype).reshape(taps, 1, *kernel)
    filters = np.concatenate([each] * parents)
    spread = add_initializer(model, f"each tap\0{pair.node}", filters)
    seen, pooled = f"seen\0{pair.node}", f"pooled\0{pair.node}"
    conv = helper.make_node("Conv", [pair.data.tensor, spread], [seen])
    conv.attribute.extend(_walk(node.proto))
    conv.attribute.append(helper.make_attribute("group", parents))
    model.graph.node.extend([conv, helper.make_node("GlobalAveragePool", [seen], [pooled])])
    return pooled


def _walk(node: NodeProto) -> list[AttributeProto]:
    """How a convolution walks over its input."""
    return [a for a in node.attribute if a.name != "group"]
