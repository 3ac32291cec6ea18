"""Loading and analysing under atheris, which keeps what reaches code that nothing has reached.

    pip install atheris
    python -m tests.fuzz.guided CORPUS [-max_total_time=1800] [any other option of libFuzzer]

The first run fills the corpus with the models of the fixtures.  A finding is an exception that is
no refusal, or an input that takes longer than libFuzzer's `-timeout` (25 s here).  Nothing is run:
an operator that nobody has stands at the end of every model, so that what is looked at is our own
code and not ONNX Runtime's.
"""

from __future__ import annotations

import importlib
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto, helper

#: Seconds for one input, bytes of one, and memory.
TIMEOUT, LONGEST, MEMORY = 25, 1 << 16, 4 << 30
#: What atheris counts the branches of: our rooms that read a file.
ROOMS = ("model", "ops", "ir", "plan")


def target(data: bytes) -> None:
    """Load a file's content and analyse it; what is no refusal goes on to whoever calls.

    Args:
        data: the content.
    """
    inspect = importlib.import_module("onnxslim_snacs.commands.inspect").inspect
    errors = importlib.import_module("onnxslim_snacs.errors")
    internal = errors.InternalError
    try:
        inspect(unrunnable(data))
    except internal:
        raise
    except errors.SnacsError:
        return


def unrunnable(data: bytes) -> bytes:
    """The model with an operator behind it that nobody has; what is no model stays as it is."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
        if model.graph.output:
            output = model.graph.output[0].name
            model.graph.node.append(helper.make_node("Frob", [output], ["frobbed"], domain="zz"))
            model.opset_import.append(helper.make_opsetid("zz", 1))
        return bytes(model.SerializeToString())
    except (DecodeError, EncodeError, UnicodeError, ValueError):
        return data


def fill(corpus: Path) -> None:
    """Begin with the models of the fixtures of the rules."""
    corpus.mkdir(parents=True, exist_ok=True)
    if any(corpus.iterdir()):
        return
    harness = importlib.import_module("tests.harness")  # imports what is to be instrumented before
    for path in sorted(harness.FIXTURES.glob("*.txt")):
        for number, fixture in enumerate(harness.read_fixtures(path)):
            content = fixture.model.SerializeToString()
            (corpus / f"{path.stem}_{number}.onnx").write_bytes(content)


def _instrumented(atheris: Any) -> None:
    package = Path(importlib.import_module("onnxslim_snacs").__path__[0])
    with atheris.instrument_imports(include=[f"onnxslim_snacs.{room}" for room in ROOMS]):
        for room in ROOMS:
            for path in sorted((package / room).glob("*.py")):
                importlib.import_module(
                    f"onnxslim_snacs.{room}.{path.stem}".removesuffix(".__init__")
                )
        importlib.import_module("onnxslim_snacs.commands.inspect")


def main(arguments: Sequence[str]) -> None:
    """Fuzz until the time is over."""
    atheris = importlib.import_module("atheris")

    corpus, *options = arguments
    _instrumented(atheris)
    fill(Path(corpus))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    more = [f"-timeout={TIMEOUT}", f"-max_len={LONGEST}", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], corpus, *more, *options], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
