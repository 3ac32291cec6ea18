"""The command line."""

from onnxslim_snacs.cli.guard import main

__all__ = ["main"]
