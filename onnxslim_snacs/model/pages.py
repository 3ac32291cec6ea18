"""Pages of memory that are kept when arrays are freed.

The activations of a batch are as large as those of the one before.  Left to itself, the C library
gives such arrays back to the system one by one and asks for them anew, each page cleared: an eighth
of the time of a run on images.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: Numbers of glibc's options: bytes at the end of the heap beyond which they are given back, and
#: bytes from which an array has pages of its own, which go with it.
_TRIM, _OWN = -1, -3
#: What they are set to.
_KEPT, _LARGE = 1 << 29, 1 << 27


def keep_pages() -> None:
    """Keep up to 512 MB of freed memory for what comes next, where the C library is glibc.

    For processes of our own: it holds until they end.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library, or none to be found
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - only glibc has it, and numbers them like this
        library.mallopt(_OWN, _LARGE)
        library.mallopt(_TRIM, _KEPT)
