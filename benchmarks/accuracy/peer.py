"""Cut a network with another tool to a budget, and recover it as that tool can.

    python peer.py onnxsim|torch_pruning MODEL MACS_KEPT CALIBRATION.npz FOLDER

Run by the peers' own Python.  Writes FOLDER/peer_<recovery>.onnx for every way to recover; the
tool's ratio is found by bisection on the multiply-accumulates that it leaves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, shape_inference

_BATCH, _STEPS = 100, 9


def macs(model: ModelProto) -> int:
    """Multiply-accumulates of convolutions and matrix products for one sample."""
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    shapes = {
        v.name: [max(1, d.dim_value) for d in v.type.tensor_type.shape.dim]
        for v in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    }
    shapes |= {t.name: list(t.dims) for t in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            positions = int(np.prod(shapes[node.output[0]][2:]))
            total += int(np.prod(shapes[node.input[1]])) * positions
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in shapes:
            total += int(np.prod(shapes[node.input[1]][-2:]))
    return total


def bisect(cut: Callable[[float], Any], price: Callable[[Any], float], budget: float) -> Any:
    """The mildest cut within the budget."""
    low, high, best = 0.0, 0.95, None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        made = cut(middle)
        if price(made) <= budget:
            high, best = middle, made
        else:
            low = middle
    if best is None:
        raise ValueError(f"cannot get down to {budget:g} of the multiply-accumulates")
    return best


def onnxsim_variants(path: str, budget: float, images: Any, folder: Path) -> None:
    """Structured Wanda, then each of the tool's ways to recover."""
    import onnxsim
    from onnxsim.bn_recovery import (
        calibrate_recovered_bn,
        find_recovered_bn_nodes,
        insert_identity_bn,
        recover_batch_norm,
    )
    from onnxsim.finetune import apply_pruning_finetune
    from onnxsim.pruning import apply_structured_wanda_pruning

    simple, _ = onnxsim.simplify(onnx.load(path))
    name = simple.graph.input[0].name
    batches = [{name: images[k : k + _BATCH]} for k in range(0, len(images), _BATCH)]
    whole = macs(simple)

    def cut(ratio: float) -> ModelProto:
        return apply_structured_wanda_pruning(simple, batches, sparsity=ratio)

    best = bisect(cut, lambda model: macs(model) / whole, budget)
    onnx.save(best, folder / "peer_wanda.onnx")

    def one_after_the_other() -> ModelProto:
        """As `recover_batch_norm`, in the order of the layers: all at once it wrecks the model."""
        model, _ = insert_identity_bn(best)
        for node in find_recovered_bn_nodes(model):
            names = [node.node_name]
            model = calibrate_recovered_bn(model, batches, target_model=simple, node_names=names)
        return model

    recoveries: dict[str, Callable[[], ModelProto]] = {
        "wanda_bn": lambda: recover_batch_norm(best, calibration_data=batches, target_model=simple),
        "wanda_bn_sequential": one_after_the_other,
        "wanda_finetune": lambda: apply_pruning_finetune(simple, best, calibration_data=batches),
    }
    for recovery, function in recoveries.items():
        try:
            onnx.save(function(), folder / f"peer_{recovery}.onnx")
        except Exception as error:
            print(f"{recovery}: {error}", file=sys.stderr)


def torch_pruning_variants(path: str, budget: float, images: Any, folder: Path) -> None:
    """L2 norms over dependency groups, then BatchNorm statistics anew."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from benchmarks.coverage.peer import declare_torchvision_operators

    declare_torchvision_operators()
    import onnx2torch
    import torch
    import torch_pruning

    torch.set_num_threads(1)
    sample = torch.from_numpy(images[:1])
    original = onnx2torch.convert(onnx.load(path)).eval()
    whole, _ = torch_pruning.utils.count_ops_and_params(original, sample)

    def cut(ratio: float) -> Any:
        module = deepcopy(original)
        ignored = [m for m in module.modules() if isinstance(m, torch.nn.Linear)]
        ignored += [module.get_submodule(name) for name in by_hand]
        pruner = torch_pruning.pruner.MagnitudePruner(
            module,
            sample,
            importance=torch_pruning.importance.MagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=ignored,
        )
        pruner.step()
        module(sample)  # raises where the cut does not fit together
        return module

    def price(module: Any) -> float:
        return float(torch_pruning.utils.count_ops_and_params(module, sample)[0] / whole)

    by_hand: list[str] = []
    try:
        best, kind = bisect(cut, price, budget), "l2"
    except Exception as error:
        print(f"as it is: {error}", file=sys.stderr)
        by_hand = residual_layers(original)
        best, kind = bisect(cut, price, budget), "l2_streams_excluded"
    _export(best, sample, folder / f"peer_{kind}.onnx")
    _estimate_again(best, images)
    _export(best, sample, folder / f"peer_{kind}_bn.onnx")


def residual_layers(module: Any) -> list[str]:
    """Convolutions whose output runs into a sum or a padding, which have to be excluded by hand."""
    import torch

    modules = dict(module.named_modules())
    found = []
    for node in module.graph.nodes:
        if not isinstance(modules.get(node.target), torch.nn.Conv2d):
            continue
        pending, seen = list(node.users), set()
        while pending:
            user = pending.pop()
            layer = modules.get(user.target)
            if user in seen or isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
                continue
            seen.add(user)
            if isinstance(layer, (torch.nn.BatchNorm2d, torch.nn.ReLU)):
                pending.extend(user.users)
            else:
                found.append(str(node.target))
                break
    return found


def _estimate_again(module: Any, images: Any) -> None:
    """BatchNorm statistics of the calibration images."""
    import torch

    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    if not norms:
        raise ValueError("there is no BatchNorm whose statistics could be taken again")
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for k in range(0, len(images), _BATCH):
            module(torch.from_numpy(images[k : k + _BATCH]))
    module.eval()


def _export(module: Any, sample: Any, path: Path) -> None:
    import torch

    axes = {"input": {0: "n"}, "output": {0: "n"}}
    torch.onnx.export(
        module, (sample,), str(path), input_names=["input"], output_names=["output"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip


def main() -> None:
    tool, path, budget, data, folder = sys.argv[1:6]
    images = np.load(data)["images"]
    run = onnxsim_variants if tool == "onnxsim" else torch_pruning_variants
    run(path, float(budget), images, Path(folder))


if __name__ == "__main__":
    main()
