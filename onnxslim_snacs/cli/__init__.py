"""The command line."""

from onnxslim_snacs.cli.start import main

__all__ = ["main"]
