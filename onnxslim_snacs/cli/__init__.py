"""The command line."""

from onnxslim_snacs.cli.app import main

__all__ = ["main"]
