"""The command line."""

from onnxslim_snacs.cli.watch import main

__all__ = ["main"]
