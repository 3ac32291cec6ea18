"""Cut a model along a plan: every tensor along its own axes, every node as its rule says.

Names survive, and what the plan does not touch is copied byte for byte.
"""

from __future__ import annotations

from onnx import ModelProto

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.body import bodies_of, put_body
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.draft import Draft, Pass, open_draft
from onnxslim_snacs.passes.nodes import edit_chains, edit_nodes, freeze_numbers, place_nodes
from onnxslim_snacs.passes.slices import declare, declare_extents, slice_tensors
from onnxslim_snacs.passes.tidy import rejoin_copies, remove_dead, unfold_weights


def prune(analysis: Analysis, keep: KeepMap) -> ModelProto:
    """The model without the slots that `keep` drops: `PASSES`, one after the other.

    Args:
        analysis: the model and its dependency IR.
        keep: the kept slots of every axis.

    Returns:
        A new model; the analysed one is not changed.
    """
    if not keep.kept and analysis.given is not None:
        model = ModelProto()
        model.CopyFrom(analysis.given.proto)
        return model
    draft = open_draft(analysis, keep)
    for step in PASSES if keep.kept else (rejoin_copies,):
        step(draft)
    return draft.model


def prune_bodies(draft: Draft) -> None:
    """Cut the bodies of control flow, each as a model of its own."""
    for body in draft.analysis.bodies:
        if body.analysis.loses(draft.keep):
            node = draft.model.graph.node[body.position]
            put_body(node, body.attribute, prune(body.analysis, draft.keep))
            declare(dict(bodies_of(node))[body.attribute].input, draft.keep)


#: What `prune` runs.  The model is whole again after `place_nodes`; what follows only removes and
#: declares.
PASSES: tuple[Pass, ...] = (
    prune_bodies,
    slice_tensors,
    edit_nodes,
    edit_chains,
    freeze_numbers,
    place_nodes,
    declare_extents,
    remove_dead,
    rejoin_copies,
    unfold_weights,
)
