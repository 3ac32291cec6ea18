"""ONNX's own checker, asked only about what it can judge."""

from __future__ import annotations

import onnx
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
)

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.external import is_external
from onnxslim_snacs.model.functions import plain_domain
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.stored import all_nodes, stored_tensors

_UNKNOWN_DOMAIN = "onnxslim_snacs.unknown"
_ONNX_DOMAINS = ("", "ai.onnx.ml")


def check_versions(model: ModelProto) -> None:
    """Check the file's format version and its operator sets.

    Raises:
        InputRefused: a version is missing, contradicts another one, or is newer than the installed
            onnx package.
    """
    if not 1 <= model.ir_version <= onnx.IR_VERSION:
        raise InputRefused(
            f"the model's IR version is {model.ir_version}; the installed onnx {onnx.__version__} "
            f"knows 1 to {onnx.IR_VERSION}"
        )
    versions: dict[str, int] = {}
    for opset in model.opset_import:
        domain = plain_domain(opset.domain)
        if versions.setdefault(domain, opset.version) != opset.version:
            raise InputRefused(f"two versions of operator set {foreign(domain or 'ai.onnx')}")
    if not versions:
        raise InputRefused("the model names no operator set")
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= versions.get("", 1) <= newest:
        raise InputRefused(
            f"the model's operator set is {versions['']}; the installed onnx {onnx.__version__} "
            f"knows 1 to {newest}"
        )


def check_schema(model: ModelProto) -> None:
    """Have onnx's checker look at everything but the weights.

    An operator that it does not know is no error: whatever touches it is left as it is.

    Args:
        model: a model whose wiring and tensors have been checked.

    Raises:
        InputRefused: the checker objects.
    """
    light = without_weights(model)
    _hide_unknown(light)
    _fill_in_shapes(light)
    try:
        onnx.checker.check_model(light)
    except Exception as error:  # the checker raises whatever its parts raise
        reason = str(error).strip().partition("\n")[0]
        raise InputRefused(f"onnx's checker objects: {foreign(reason)}") from error


def without_weights(model: ModelProto) -> ModelProto:
    """A copy that costs little: its initializers are inputs, its external tensors are empty."""
    light = shell(model, "graph")
    light.graph.CopyFrom(shell(model.graph, "initializer", "value_info", "quantization_annotation"))
    given = {value.name for value in model.graph.input}
    light.graph.input.extend(_as_input(t) for t in model.graph.initializer if t.name not in given)
    for _, tensor in stored_tensors(light):
        if is_external(tensor):
            empty = TensorProto(dims=[0], data_type=tensor.data_type, name=tensor.name)
            tensor.CopyFrom(empty)
    return light


def _as_input(tensor: TensorProto) -> ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))


def _fill_in_shapes(model: ModelProto) -> None:
    """Declare some shape where there is none: the checker wants one, ONNX Runtime does not."""
    for info in (*model.graph.input, *model.graph.output):
        kind = info.type
        if kind.HasField("tensor_type") and not kind.tensor_type.HasField("shape"):
            kind.tensor_type.shape.SetInParent()


def _hide_unknown(model: ModelProto) -> None:
    """Move operators that ONNX does not define into a domain that the checker leaves alone.

    So are deprecated ones: exporters write GroupNormalization of operator set 18, and it runs.
    """
    functions = {(f.domain, f.name) for f in model.functions}
    owners = [(model, model.graph.node), *((f, f.node) for f in model.functions)]
    for owner, nodes in owners:
        versions = {plain_domain(o.domain): o.version for o in owner.opset_import}
        hidden = [
            node
            for node in all_nodes(nodes)
            if (node.domain, node.op_type) not in functions and _is_unknown(node, versions)
        ]
        for node in hidden:
            node.domain = _UNKNOWN_DOMAIN
        if hidden:
            owner.opset_import.append(helper.make_opsetid(_UNKNOWN_DOMAIN, 1))


def _is_unknown(node: NodeProto, versions: dict[str, int]) -> bool:
    domain = plain_domain(node.domain)
    if domain not in versions:
        return domain != ""
    if domain not in _ONNX_DOMAINS:
        return False
    if not onnx.defs.has(node.op_type, versions[domain], domain):
        return True
    return bool(onnx.defs.get_schema(node.op_type, versions[domain], domain).deprecated)
