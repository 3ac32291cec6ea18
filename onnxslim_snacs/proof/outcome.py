"""What a proof comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto

from onnxslim_snacs.errors import InputRefused, ProofFailed
from onnxslim_snacs.ir.keep import KeepMap


@dataclass(frozen=True, slots=True)
class Proof:
    """Outcome of the comparison.

    Attributes:
        oracle: what was compared with what.
        max_rel_diff: largest max|difference| / max|output| over outputs, inner tensors and samples;
            where that was judged node by node, at the node that comes nearest to what is allowed.
        tolerance: what was allowed.
        noise: the same number for the original beside itself, when inputs and weights move by a
            unit in the last place: the model's own rounding noise, of which the tolerance is
            `noise.FACTOR` times as much; 0 where the difference needs no explanation, so that
            nobody has looked.
        samples: how many input sets were run.
        passed: whether the model is proved.
        failure: what went wrong, "" if nothing did.
        boundary: nodes that could not be run and were left out on both sides; no channel around
            them goes.
        refused: whether nothing could be compared at all, so that the failure is not ours.
        end_to_end: how far the outputs are apart where that is no measure, for the model makes more
            of its rounding than is allowed, and every node was judged by itself; None elsewhere.
        range_diff: what of the difference dynamic quantisers make, whose range is that of what is
            left; allowed on top.
        sizes: the shapes of the inputs that were run.
        unvaried: dynamic dimensions of inputs of which only one extent was found that runs; at
            others nothing was compared.
    """

    oracle: str
    max_rel_diff: float
    tolerance: float
    noise: float
    samples: int
    passed: bool
    failure: str = ""
    boundary: tuple[str, ...] = ()
    refused: bool = False
    end_to_end: float | None = None
    range_diff: float = 0.0
    sizes: tuple[Mapping[str, tuple[int, ...]], ...] = ()
    unvaried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProvedCut:
    """A cut model that computes what was decided.

    Attributes:
        keep: what was decided.
        model: the cut model.
        proof: the outcome of the proof.
    """

    keep: KeepMap
    model: ModelProto
    proof: Proof


def require(proof: Proof) -> None:
    """Raise if the proof has failed.

    Raises:
        InputRefused: nothing could be compared.
        ProofFailed: with what went wrong.
    """
    if proof.refused:
        raise InputRefused(f"the cut cannot be proved: {proof.failure}; nothing was written")
    if not proof.passed:
        raise ProofFailed(
            f"the cut model is not equal to the masked original: {proof.failure}; nothing was "
            "written; please report this"
        )
