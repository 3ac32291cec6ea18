"""Writing plans and reports: whole or not at all, like models."""

from __future__ import annotations

import os
from pathlib import Path

from onnxslim_snacs.errors import FileSystemError, foreign
from onnxslim_snacs.model.atomic import temp_file


def write_text(text: str, path: Path, *, overwrite: bool = False) -> None:
    """Write UTF-8 text so that a reader finds the old file or the new one, whole.

    Raises:
        FileSystemError: the file exists and may not be replaced, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise FileSystemError(f"{foreign(path)} exists: --force replaces it")
    try:
        with temp_file(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
            file.become(path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise FileSystemError(f"{foreign(path)} cannot be written ({foreign(reason)})") from error
