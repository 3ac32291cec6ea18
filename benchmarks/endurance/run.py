"""What the tests do a few times, done until chance has had its turn.

    python -m benchmarks.endurance.run signals [--count 200] [--model FILE]
    python -m benchmarks.endurance.run kills   [--count 200]
    python -m benchmarks.endurance.run writers [--count 100]
    python -m benchmarks.endurance.run scaling [--sizes 10000 20000 40000 80000] [--of nodes inputs]
    python -m benchmarks.endurance.run soak    [--count 500] [--samples 256]
    python -m benchmarks.endurance.run threads MODEL DATA [MODEL DATA ...] [--samples 256]

Each prints lines of what it has seen, and last a line that counts; what is wrong is said as WRONG.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.endurance.scaling import THINGS, scaling
from benchmarks.endurance.signals import signals
from benchmarks.endurance.soak import soak
from benchmarks.endurance.surroundings import threads
from benchmarks.endurance.writing import kills, writers


def main() -> int:
    parser = argparse.ArgumentParser()
    kinds = ("signals", "kills", "writers", "scaling", "soak", "threads")
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("pairs", nargs="*", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sizes", nargs="*", type=int, default=[10_000, 20_000, 40_000, 80_000])
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--of", nargs="*", choices=THINGS, default=list(THINGS))
    given = parser.parse_args()
    for kind in (signal.SIGHUP, signal.SIGINT):  # whoever runs this may have them ignored
        signal.signal(kind, signal.SIG_DFL)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = {
            "signals": lambda: signals(given.count or 200, given.model, folder),
            "kills": lambda: kills(given.count or 200, folder),
            "writers": lambda: writers(given.count or 100, folder),
            "scaling": lambda: scaling(given.sizes, given.of, folder),
            "soak": lambda: soak(given.count or 500, given.samples, folder),
            "threads": lambda: threads([p.resolve() for p in given.pairs], given.samples, folder),
        }
        codes: Counter[str] = Counter()
        for text in runs[given.kind]():
            wrong += text.startswith("WRONG")
            if text.startswith("~"):
                codes[text[1:]] += 1
                continue
            print(text, flush=True)
    more = f", ends {dict(codes)}" if codes else ""
    print(f"{given.kind}: {wrong} wrong{more}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
