"""What users of a model rely on: its inputs and outputs."""

from __future__ import annotations

from onnx import ModelProto

from onnxslim_snacs.errors import foreign


def interface_difference(before: ModelProto, after: ModelProto) -> str:
    """What differs between the inputs and outputs of two models; "" if they are the same."""
    models = (before, after)
    stored = {tensor.name for model in models for tensor in model.graph.initializer}
    for field in ("input", "output"):
        a, b = ([v for v in getattr(m.graph, field) if v.name not in stored] for m in models)
        if [v.name for v in a] != [v.name for v in b]:
            names = [foreign(v.name) for v in b]
            return f"{field}s are {names}, expected {[foreign(v.name) for v in a]}"
        other = [v.name for v, w in zip(a, b, strict=True) if v.type != w.type]
        if other:
            return f"{field} {foreign(other[0])} has another type or shape"
    return ""
