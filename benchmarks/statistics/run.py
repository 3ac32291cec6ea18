"""Time and memory of the statistics pass beside the plain forward pass, in alternation.

    python -m benchmarks.statistics.run [--threads 2] [--images 1000] [--rounds 5]

Pools the inputs and outputs of all convolutions of ResNet-56; every figure comes from a process of
its own, so that peaks of memory do not mix.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.common import SHARED, cifar_images
from onnxslim_snacs.activations.inputs import input_specs
from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.requests import GramRequest, MomentRequest, Request, pooled_request
from onnxslim_snacs.activations.run import batch_size, run_batches
from onnxslim_snacs.activations.statistics import collect
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.session import SessionConfig, create_session

MODEL = SHARED / "models" / "cifar10_akamaster_resnet56_ts17_bn.onnx"
WHATS = ("plain", "inputs", "pooled", "moments", "grams")


def requests_of(what: str, facts: ModelFacts) -> list[Request]:
    convolutions = [node for node in facts.graph.nodes if node.op_type == "Conv"]
    inputs = list(dict.fromkeys(node.input[0] for node in convolutions))
    tensors = list(dict.fromkeys([*inputs, *(node.output[0] for node in convolutions)]))
    specs = input_specs(facts.graph)
    requests: dict[str, list[Request]] = {
        "inputs": [pooled_request(facts, t, 1, specs) for t in inputs],
        "pooled": [pooled_request(facts, t, 1, specs) for t in tensors],
        "moments": [MomentRequest(t) for t in tensors],
        "grams": [GramRequest(t) for t in inputs],
    }
    return requests[what]


def one(what: str, data: Path, threads: int) -> dict[str, float]:
    """One pass in this process: seconds without start-up, and peak memory in MiB."""
    graph = load_model(MODEL)
    facts = read_facts(graph)
    source = open_source(DataConfig(str(data)), graph)
    config = SessionConfig(threads=threads)
    start = perf_counter()
    if what == "plain":
        session = create_session(graph.proto, config)
        for _ in run_batches(session, source, batch_size(facts, source, [])):
            pass
    else:
        collect(facts, source, requests_of(what, facts), config)
    seconds = perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", choices=WHATS)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.data, options.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "cifar.npz"
        images, labels = cifar_images("train", "imagenet", options.images)
        np.savez(data, input=images, labels=labels)
        runs: dict[str, list[dict[str, float]]] = {what: [] for what in WHATS}
        for _ in range(options.rounds):
            for what in WHATS:
                call = [sys.executable, "-m", "benchmarks.statistics.run", "--one", what]
                call += ["--data", str(data), "--threads", str(options.threads)]
                done = subprocess.run(call, check=True, capture_output=True, text=True)
                runs[what].append(json.loads(done.stdout))
    print(f"ResNet-56, {options.images} images, {options.threads} thread(s)")
    print("| pass | median s | median ratio to plain | peak MiB |\n|---|---|---|---|")
    for what, found in runs.items():
        seconds = median(f["seconds"] for f in found)
        pairs = zip(found, runs["plain"], strict=True)
        ratio = median(f["seconds"] / p["seconds"] for f, p in pairs)
        print(f"| {what} | {seconds:.2f} | {ratio:.2f} | {max(f['peak'] for f in found):.0f} |")


if __name__ == "__main__":
    main()
