"""Signals at moments from the first instruction on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.endurance.setting import CUT, DATA, ENVIRONMENT, MODEL, files


def signals(count: int, model: Path | None, folder: Path) -> Iterator[str]:
    """SIGINT, SIGTERM and SIGHUP at moments from the first instruction on."""
    rng = random.Random(0)
    # with -v Python says on stderr what it imports: whether it had come to us
    line = [sys.executable, "-v", "-m", "onnxslim_snacs", "compress", str(model or MODEL)]
    line += ["-o", str(folder / "o.onnx"), *CUT]
    line += [] if model else ["--data", str(DATA), "--target", "macs=0.5"][:2]
    began = time.monotonic()
    with suppress(subprocess.TimeoutExpired):  # a model may have no end
        subprocess.run(line, env=ENVIRONMENT, capture_output=True, check=False, timeout=5)
    whole = min(2.5, time.monotonic() - began)
    early = torn = 0
    for number in range(count):
        (folder / "o.onnx").unlink(missing_ok=True)
        kind = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[number % 3]
        # a third within the first 30 ms, in which Python itself begins
        moment = rng.uniform(0, 0.03) if number % 10 < 3 else rng.uniform(0, whole)
        process = subprocess.Popen(
            line, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        time.sleep(moment)
        sent = time.monotonic()
        process.send_signal(kind)
        _, said = process.communicate(timeout=60)
        late = time.monotonic() - sent
        code, left = process.returncode, files(folder)
        # a shell shows both the same
        itself, right = code == -kind and not left, code == 128 + kind
        right |= code == 0 and set(left) == {"o.onnx"}
        fell = "Traceback" in said
        python = fell and code in (1, -kind) and "onnxslim_snacs/" not in said  # not come to us
        early, torn = early + (itself and not fell), torn + python
        text = f"{kind.name} at {moment:.3f} s: {code} after {late:.3f} s"
        if not (right or itself or python) or (fell and not python) or (code and left):
            yield f"WRONG {text}: {said.partition('Traceback')[2][:900]!r} {sorted(left)}"
        yield f"{code} {late:.3f}" if number % 20 == 0 else f"~{code}"
        if late > 1:
            yield f"SLOW {text}"
    yield f"{early} ended by the signal itself; {torn} by a traceback of Python's own beginning"
