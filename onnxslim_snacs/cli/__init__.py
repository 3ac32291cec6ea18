"""The command line.

Nothing is imported here: until handlers of ours are there, a signal shall find as little at work as
possible.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line, and end with the exit code that belongs to what happened."""
    import signal

    # What Python does with Ctrl-C is a traceback.  Until `guard` takes it, it ends the process.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from onnxslim_snacs.cli.guard import main as watch

    watch()


__all__ = ["main"]
