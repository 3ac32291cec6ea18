"""Make trained networks physically smaller when all you have is the .onnx file.

>>> from onnxslim_snacs import CompressConfig, DataConfig, compress
>>> config = CompressConfig(data=DataConfig("calibration.npz"), target={"macs": 0.5})
>>> done = compress("model.onnx", config, out="model.slim.onnx")  # doctest: +SKIP
>>> done.report.after.macs / done.report.before.macs  # doctest: +SKIP
0.4987
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # importing typing takes longer than all else here, and a signal may come
if TYPE_CHECKING:
    from typing import Any

    from onnxslim_snacs.commands.apply import apply_plan as apply
    from onnxslim_snacs.commands.apply import apply_plan as apply_plan
    from onnxslim_snacs.commands.compress import compress
    from onnxslim_snacs.commands.inspect import inspect
    from onnxslim_snacs.commands.verify import verify_files as verify
    from onnxslim_snacs.commands.verify import verify_files as verify_files
    from onnxslim_snacs.config import CompressConfig, DataConfig
    from onnxslim_snacs.errors import SnacsError
    from onnxslim_snacs.plan.plan import Plan
    from onnxslim_snacs.report.report import Report

__version__ = "0.1.0"

#: Public name -> module, and the name there if it is another one; imported on first use, so that
#: `snacs-onnx --help` answers at once.
_HOMES = {
    "CompressConfig": "config",
    "DataConfig": "config",
    "Plan": "plan.plan",
    "Report": "report.report",
    "SnacsError": "errors",
    "apply": "commands.apply:apply_plan",
    "apply_plan": "commands.apply",
    "compress": "commands.compress",
    "inspect": "commands.inspect",
    "verify": "commands.verify:verify_files",
    "verify_files": "commands.verify",
}

__all__ = [
    "CompressConfig",
    "DataConfig",
    "Plan",
    "Report",
    "SnacsError",
    "apply",
    "compress",
    "inspect",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, there = _HOMES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), there or name)
