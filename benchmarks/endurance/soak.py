"""Many compressions in one process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.endurance.setting import DATA, ENVIRONMENT, MODEL

SOAK = """
import sys, re
from pathlib import Path
from onnxslim_snacs import CompressConfig, DataConfig, compress
data = DataConfig(sys.argv[2], samples=int(sys.argv[5]))
config = CompressConfig(data, target={"macs": 0.5}, tries=1)
for k in range(int(sys.argv[3])):
    compress(sys.argv[1], config, out=sys.argv[4], overwrite=True)
    if k in (4, 9) or k % 50 == 49:
        status = Path("/proc/self/status").read_text()
        resident = re.search("VmRSS: +(.*) kB", status.replace(chr(9), " "))
        handles = len(list(Path("/proc/self/fd").iterdir()))
        print(k + 1, int(resident[1]) // 1024, "MB,", handles, "files", flush=True)
"""


def soak(count: int, samples: int, folder: Path) -> Iterator[str]:
    """Compressions with data in one process: memory and open files."""
    line = [sys.executable, "-c", SOAK, str(MODEL), str(DATA), str(count), str(folder / "o.onnx")]
    line.append(str(samples))
    process = subprocess.Popen(line, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield from (text.strip() for text in process.stdout)
    if process.wait():
        yield f"WRONG: exit {process.returncode}"
