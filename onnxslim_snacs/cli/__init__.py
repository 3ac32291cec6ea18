"""The command line.

Nothing is imported here: until handlers of ours are there, a signal shall find as little at work as
possible.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line, and end with the exit code that belongs to what happened."""
    # `signal` imports enum, and a signal may come meanwhile
    import _signal as handlers  # type: ignore[import-not-found]

    # What Python does with Ctrl-C is a traceback.  Until `guard` takes it, it ends the process.
    if handlers.getsignal(handlers.SIGINT) is handlers.default_int_handler:
        handlers.signal(handlers.SIGINT, handlers.SIG_DFL)
    from onnxslim_snacs.cli.guard import main as watch

    watch()


__all__ = ["main"]
