"""`export-plan`: a module of PyTorch cut by the plan answers as the cut ONNX model does."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.commands.export_plan import ExportedPlan, export_plan
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.plan.state_names import match_state
from onnxslim_snacs.plan.stored_cuts import StoredCut
from onnxslim_snacs.torch_graph.modules import load_state, prune_module

torch = pytest.importorskip("torch")
nn = torch.nn


class Block(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.downsample = None
        if stride > 1 or inner != outer:
            self.downsample = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Block(8, 8, 1), Block(8, 8, 1))
        self.layer2 = nn.Sequential(Block(8, 16, 2), Block(16, 16, 1))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        x = self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


class Inverted(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Any) -> Any:
        return x + self.conv(x)


class MobileNet(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
        self.features = nn.Sequential(Inverted(8, 24), Inverted(8, 24))
        self.head = nn.Conv2d(8, 20, 1)
        self.act = nn.PReLU(20)
        self.classifier = nn.Linear(20, 5)

    def forward(self, x: Any) -> Any:
        x = self.act(self.head(self.features(self.stem(x))))
        return self.classifier(x.mean((2, 3)))


class Layer(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def split(self, x: Any) -> Any:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x: Any) -> Any:
        y = self.norm1(x)
        q, k, v = (self.split(f(y)) for f in (self.q, self.k, self.v))
        a = torch.softmax(q @ k.transpose(-1, -2) * 0.35, dim=-1) @ v
        x = x + self.out(a.transpose(1, 2).flatten(2))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.layers = nn.Sequential(Layer(16, 2), Layer(16, 2))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.norm(self.layers(self.embed(x))).mean(1))


def trained(make: Callable[[], Any]) -> Any:
    """A module with statistics and affine parameters that are not those of its beginning."""
    torch.manual_seed(0)
    module = make().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0.0, 0.3)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0.0, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    return module


def fresh(make: Callable[[], Any]) -> Any:
    """A module whose normalisations are all alike, so that the exporter stores some of it once."""
    torch.manual_seed(0)
    return make().eval()


def exported(module: Any, x: Any, path: Path) -> Path:
    """By the exporter that folds and renames."""
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        (x,),
        buffer,
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        dynamic_axes={"x": {0: "N"}},
    )
    path.write_bytes(buffer.getvalue())
    return path


CASES: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "resnet": (ResNet, (2, 3, 12, 12)),
    "mobilenet": (MobileNet, (2, 3, 12, 12)),
    "transformer": (Transformer, (2, 7, 6)),
}


@pytest.mark.parametrize("begin", [trained, fresh])
@pytest.mark.parametrize("name", list(CASES))
def test_a_module_that_is_cut_by_the_map_is_the_cut_model(
    name: str, begin: Callable[[Callable[[], Any]], Any], tmp_path: Path
) -> None:
    make, shape = CASES[name]
    module, x = begin(make), torch.randn(*shape)
    path = exported(module, x, tmp_path / "net.onnx")
    done = compress(
        path, CompressConfig(ratio=0.5, criterion="random", recover="none"), out=tmp_path / "o.onnx"
    )
    assert done.report.after.params < 0.6 * done.report.before.params
    session = onnxruntime.InferenceSession(tmp_path / "o.onnx")
    (wanted,) = session.run(None, {"x": x.numpy()})
    made = export_plan(done.plan, path, state=module.state_dict())
    assert not made.unknown
    assert not made.lost
    pruned = prune_module(module, made.axes, made.groups)
    for change in made.nodes:  # the only number in the code of these modules
        if change.op == "Reshape" and len(change.after) == 4:
            assert change.before[2] == 2
            pruned.get_submodule(change.module).heads = change.after[2]
    left = sum(p.numel() for p in pruned.parameters())
    assert left < 0.6 * sum(p.numel() for p in make().parameters())
    with torch.no_grad():
        got = pruned(x).numpy()
    assert got == pytest.approx(wanted, abs=2e-5)
    for part in pruned.modules():  # what modules say of themselves is so
        if isinstance(part, nn.Conv2d):
            assert part.weight.shape[0] == part.out_channels
            assert part.weight.shape[1] * part.groups == part.in_channels
        if isinstance(part, nn.Linear):
            assert tuple(part.weight.shape) == (part.out_features, part.in_features)
        if isinstance(part, nn.BatchNorm2d):
            assert part.num_features == len(part.weight)


def test_folded_and_renamed_weights_are_known_by_their_values(tmp_path: Path) -> None:
    module = trained(ResNet)
    path = exported(module, torch.randn(2, 3, 12, 12), tmp_path / "net.onnx")
    stored = {t.name for t in onnx.load(path).graph.initializer}
    assert any(name.startswith("onnx::Conv_") for name in stored)
    assert "layer2.0.bn1.weight" not in stored
    done = compress(path, CompressConfig(ratio=0.5, criterion="l1", recover="none"))
    made = export_plan(done.plan, path, state=module.state_dict())
    how = {key: entry.how for key, entry in made.state.items()}
    assert how["fc.weight"] == "name"
    assert how["layer2.0.downsample.0.weight"] == "folded"
    assert how["layer2.0.downsample.1.running_var"] == "norm"
    kept = {
        tuple(entry.axes.get(0, ())) for key, entry in made.state.items() if "downsample" in key
    }
    assert len(kept) == 1  # weight and normalisation lose the same channels
    other = trained(ResNet)
    with torch.no_grad():
        other.layer1[0].conv1.weight += 0.1
    wrong = export_plan(done.plan, path, state=other.state_dict())
    assert set(wrong.unknown) == {
        f"layer1.0.{name}"
        for name in (
            *("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"),
        )
    }
    assert len(wrong.lost) == 2  # its weight, and the bias that folding has made


def stored(name: str, value: Any, axes: dict[int, tuple[int, ...]]) -> tuple[StoredCut, Any]:
    return StoredCut(name, f"{name} reader", "MatMul", "", value.shape, axes), value


@pytest.mark.parametrize("turned", [False, True])
def test_what_a_state_holds_together_may_be_stored_in_parts(turned: bool) -> None:
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((12, 5)).astype(np.float32)
    kept = ((0, 2), None, (1, 3))
    parts = []
    for number, rows in enumerate(kept):
        part = whole[4 * number : 4 * number + 4]
        axes: dict[int, tuple[int, ...]] = {1: (0, 4)}
        if rows is not None:
            axes[0] = rows
        if turned:
            part, axes = part.T, {1 - axis: index for axis, index in axes.items()}
        parts.append(stored(f"part{number}", part, axes))
    found = match_state(parts, {"in_proj_weight": whole, "other": np.ones(3, np.float32)})
    entry = found.entries["in_proj_weight"]
    assert entry.how == "part"
    assert dict(entry.axes) == {0: (0, 2, 4, 5, 6, 7, 9, 11), 1: (0, 4)}
    assert found.unknown == ("other",)
    assert not found.lost


def opened(plan: Any, text: onnx.ModelProto) -> ExportedPlan:
    return export_plan(plan, text)


def test_units_that_span_rows_are_listed_row_by_row() -> None:
    from tests.harness import model_from_text

    model = model_from_text(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[N,3,2,2] x, float[4,3,1,1] w_a, float[16,5] w_b) => (float[N,5] y) {
          a = Conv(x, w_a)  f = Flatten(a)  y = MatMul(f, w_b)
        }""",
        integers=False,
    )
    done = compress(model, CompressConfig(ratio=0.5, criterion="l1", recover="none"))
    made = opened(done.plan, model)
    kept = made.tensors["w_a"].axes[0]
    assert len(kept) == 2
    assert made.tensors["w_b"].axes[0] == tuple(4 * c + k for c in kept for k in range(4))
    assert made.tensors["w_b"].left == (8, 5)
    assert 1 not in made.tensors["w_b"].axes


@pytest.mark.shared
def test_every_cut_tensor_of_a_model_is_its_slice(shared: Path) -> None:
    path = shared / "models" / "cifar10_akamaster_resnet20_ts17_bn.onnx"
    done = compress(path, CompressConfig(ratio=0.5, criterion="l1", recover="none"))
    made = opened(done.plan, onnx.load(path))
    before, after = (
        {t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer}
        for m in (onnx.load(path), done.model)
    )
    names = [name for name in made.tensors if name in after]
    assert len(names) >= 96
    for name in names:
        value = before[name]
        for axis, index in made.tensors[name].axes.items():
            value = np.take(value, index, axis=axis)
        assert np.array_equal(value, after[name]), name
    pads = [change for change in made.nodes if change.op == "Pad"]
    assert len(pads) == 2  # the shortcuts of this network
    assert all(change.after[1] < change.before[1] for change in pads)


def test_files(tmp_path: Path) -> None:
    module = trained(MobileNet)
    path = exported(module, torch.randn(2, 3, 12, 12), tmp_path / "net.onnx")
    plan = tmp_path / "plan.json"
    config = CompressConfig(ratio=0.5, criterion="l1", recover="none")
    compress(path, config, out=tmp_path / "o.onnx", plan_out=plan)
    torch.save({"state_dict": module.state_dict(), "epoch": 3}, tmp_path / "state.pt")
    out = tmp_path / "axes.pt"
    made = export_plan(plan, path, state_dict=tmp_path / "state.pt", format="torch", out=out)
    read = torch.load(out, weights_only=True)
    assert read["groups"] == made.groups
    assert set(made.groups) == {"features.0.conv.3.weight", "features.1.conv.3.weight"}
    assert {k: {a: tuple(i.tolist()) for a, i in v.items()} for k, v in read["axes"].items()} == {
        k: dict(v) for k, v in made.axes.items()
    }
    (tmp_path / "no.pt").write_text("nothing")
    with pytest.raises(InputRefused, match="state_dict"):
        load_state(tmp_path / "no.pt")
