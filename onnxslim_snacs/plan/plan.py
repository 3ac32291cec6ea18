"""The plan: plain data that a person can read, edit and replay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.ir.build import DependencyGraph
from onnxslim_snacs.ir.types import BoolArray, is_virtual
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.model.stored import all_nodes
from onnxslim_snacs.model.text import read_text

FORMAT = 1


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """What happens to one group.

    Attributes:
        id: the group's name.
        axes: the axes on which it lies, for the reader.
        units: how many units it had.
        kept: the units that stay, in ascending order.
    """

    id: str
    axes: tuple[str, ...]
    units: int
    kept: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which units of a model stay.

    Attributes:
        fingerprint: what of the model the plan depends on, see `fingerprint`.
        allow_inexact: whether the groups were found with `--allow-inexact`.
        groups: every group of the model.
        recovered: digest of the model that recovery has made of the cut one, by which it is known
            again; "" if there was no recovery.  The cut does not depend on it.
        sizes: shapes of the inputs at which the model was analysed, if it has dynamic dimensions:
            where to begin when the plan is replayed.
    """

    fingerprint: str
    allow_inexact: bool
    groups: tuple[PlannedGroup, ...]
    recovered: str = ""
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def kept(self) -> dict[str, BoolArray]:
        """Group id -> (units,) whether each unit stays."""
        masks = {}
        for group in self.groups:
            mask = np.zeros(group.units, dtype=bool)
            mask[list(group.kept)] = True
            masks[group.id] = mask
        return masks


def make_plan(
    graph: ModelGraph, ir: DependencyGraph, kept: Mapping[str, BoolArray], *, allow_inexact: bool
) -> Plan:
    """Write decisions down as a plan; groups without a decision stay whole."""
    groups = []
    for group in ir.groups:
        stays = kept.get(group.id, np.ones(group.units, dtype=bool))
        axes = tuple(str(m.axis) for m in group.members if not is_virtual(m.axis))
        groups.append(
            PlannedGroup(group.id, axes, group.units, tuple(np.flatnonzero(stays).tolist()))
        )
    return Plan(fingerprint(graph), allow_inexact, tuple(groups))


def fingerprint(graph: ModelGraph) -> str:
    """SHA-256 over the structure of a model and the shapes of its weights, not their values.

    A plan may be replayed on a model that was trained further, but on no other.
    """
    digest = hashlib.sha256()
    for node in all_nodes(graph.nodes):
        line = (node.domain, node.op_type, *node.input, ">", *node.output)
        digest.update("\0".join(line).encode("utf-8", "surrogatepass") + b"\n")
    for name in sorted(graph.initializers):
        digest.update(
            f"{name}\0{tuple(graph.initializers[name].dims)}\n".encode("utf-8", "surrogatepass")
        )
    return digest.hexdigest()


def plan_to_json(plan: Plan) -> str:
    """The plan as text."""
    data = {
        "format": FORMAT,
        "fingerprint": plan.fingerprint,
        "allow_inexact": plan.allow_inexact,
        "groups": [
            {"id": g.id, "axes": list(g.axes), "units": g.units, "kept": list(g.kept)}
            for g in plan.groups
        ],
        **({"recovered": plan.recovered} if plan.recovered else {}),
        **({"sizes": {n: list(s) for n, s in plan.sizes.items()}} if plan.sizes else {}),
    }
    return json.dumps(data, indent=1) + "\n"


def plan_from_json(text: str, source: str = "plan") -> Plan:
    """Read a plan back.

    Raises:
        InputRefused: the text is no plan, or a plan of another format.
    """
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise InputRefused(
                f"{foreign(source)}: plan format {foreign(data['format'])}, expected {FORMAT}"
            )
        groups = tuple(_planned(item) for item in data["groups"])
        if len({group.id for group in groups}) != len(groups):
            raise ValueError("a group is listed twice")
        recovered = str(data.get("recovered", ""))
        sizes = {str(n): tuple(_extent(e) for e in s) for n, s in data.get("sizes", {}).items()}
        return Plan(str(data["fingerprint"]), bool(data["allow_inexact"]), groups, recovered, sizes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputRefused(
            f"{foreign(source)}: not a plan of snacs-onnx ({foreign(repr(error))})"
        ) from error


def _planned(item: dict[str, Any]) -> PlannedGroup:
    units, kept = _whole(item["units"]), sorted({_whole(k) for k in item["kept"]})
    if not kept or kept[0] < 0 or kept[-1] >= units:
        raise ValueError(f"group {item['id']}: kept has to be some of 0 ... {units - 1}")
    return PlannedGroup(str(item["id"]), tuple(map(str, item["axes"])), units, tuple(kept))


def _whole(value: Any) -> int:
    if type(value) is not int:  # True is no channel
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _extent(value: Any) -> int:
    if _whole(value) < 0:
        raise ValueError(f"{value!r} is no extent")
    return int(value)


def load_plan(path: Path) -> Plan:
    """Read a plan from a file.

    Raises:
        InputRefused: it does not hold a plan.
        FileSystemError: it cannot be read.
    """
    return plan_from_json(read_text(path), str(path))


def check_plan(plan: Plan, graph: ModelGraph, ir: DependencyGraph) -> None:
    """Make sure that a plan belongs to a model.

    Raises:
        InputRefused: it was made for another one.
    """
    if plan.fingerprint != fingerprint(graph):
        raise InputRefused("the plan was made for another model (fingerprints differ)")
    wanted = {g.id: g.units for g in ir.groups}
    for group in plan.groups:
        if wanted.get(group.id) != group.units:
            raise InputRefused(
                f"plan: group {foreign(group.id)} with {group.units} units; the model has "
                f"{wanted.get(group.id, 'no such group')}"
            )


def model_digest(model: ModelProto, base_dir: Path | None = None) -> str:
    """SHA-256 over the nodes and the weights of a model, wherever it stores them."""
    digest = hashlib.sha256()
    for node in model.graph.node:
        digest.update(node.SerializeToString(deterministic=True))
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        digest.update(
            f"{tensor.name}\0{tensor.data_type}\0{tuple(tensor.dims)}\n".encode(
                "utf-8", "surrogatepass"
            )
        )
        digest.update(np.ascontiguousarray(tensor_array(tensor, base_dir)).tobytes())
    return digest.hexdigest()
