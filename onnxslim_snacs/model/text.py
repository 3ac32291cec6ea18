"""Reading plans that nobody has vouched for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from onnxslim_snacs.errors import FileSystemError, InputRefused, LimitExceeded, foreign

#: A plan for a million channels has about ten megabytes.
_MAX_TEXT = 1 << 28


def read_text(path: Path) -> str:
    """The UTF-8 text of an ordinary file; never waits for a pipe or a device.

    Raises:
        FileSystemError: it cannot be read.
        InputRefused: it is no text, or no ordinary file.
        LimitExceeded: it is larger than 256 MiB.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputRefused(f"{foreign(path)}: expected a file with text")
        if status.st_size > _MAX_TEXT:
            raise LimitExceeded(f"{foreign(path)}: larger than 256 MiB")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise FileSystemError(f"{foreign(path)} cannot be read ({foreign(reason)})") from error
    except UnicodeDecodeError as error:
        raise InputRefused(f"{foreign(path)}: not UTF-8 text") from error
