from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import resource
import numpy as np
from onnxslim_snacs.model.pages import keep_pages

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
given_back = faults()
keep_pages()
faults()
print(given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_arrays_that_follow_each_other_lie_on_the_same_pages() -> None:
    """Ten arrays of 80 MB, of which each would ask for its pages anew (of 2 MB at the most)."""
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    given_back, kept = map(int, ran.stdout.split())
    assert given_back >= 10 * 80_000_000 // 2**21
    assert kept < 10
