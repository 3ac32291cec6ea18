"""Einsum's equations: letters, commas, one ellipsis for each operand, one arrow.

On some of what is no equation (`ab,bc-`, `....c,cd->....d`) ONNX Runtime 1.31 never comes back.
"""

from __future__ import annotations

import re

from onnx import ModelProto

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.stored import every_node
from onnxslim_snacs.model.wiring import describe

_TERM = r"[A-Za-z ]*(?:\.\.\.)?[A-Za-z ]*"
_EQUATION = re.compile(rf"{_TERM}(?:,{_TERM})*(?:->{_TERM})?")


def check_equations(model: ModelProto) -> None:
    """Check that every equation is one.

    Raises:
        InputRefused: one is not.
    """
    for node in every_node(model):
        if node.op_type != "Einsum":
            continue
        for attribute in node.attribute:
            text = attribute.s.decode("utf-8", "backslashreplace")
            if attribute.name == "equation" and not _EQUATION.fullmatch(text):
                raise InputRefused(
                    f"{describe(node)}: {foreign(text)} is no equation, expected letters for the "
                    "dimensions of each operand, as in 'bsd,de->bse'"
                )
