"""Options of released."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.judge.judge import Judge
from tests.cli.arriving.kit import (
    ANY_SIZE,
    CHANNELS_LAST,
    IMAGE,
    Kit,
    fed,
    provider_arrives,
    threads_arrive,
)


def released_target(kit: Kit) -> None:
    for share in (0.3, 0.8):
        report = kit.released("--target", f"params={share}")
        assert report["notes"]["as_released"]["retained"] == pytest.approx(share, abs=0.1)


def released_max_drop(kit: Kit) -> None:
    def drift(judge: Judge, cut: onnx.ModelProto) -> Drift:
        arrays = [onnx.numpy_helper.to_array(tensor) for tensor in cut.graph.initializer]
        gone = sum(int((a == 0).sum()) for a in arrays) / sum(a.size for a in arrays)
        return Drift(10_000, float(gone))

    kit.patch.setattr(Judge, "drift", drift)
    kit.patch.setattr(Judge, "with_blend", lambda judge, cut, moved: moved)
    found = [
        kit.released("--max-drop", most)["notes"]["as_released"]["retained"] for most in (0.1, 0.4)
    ]
    assert found[0] > found[1]


def released_groups(kit: Kit) -> None:
    lines = (("--target", "params=0.6"), ("--target", "params=0.6", "--groups", 2))
    notes = [kit.released(*line)["notes"]["as_released"] for line in lines]
    assert [note["groups"] for note in notes] == [None, 2]
    assert notes[0]["layers"] != notes[1]["layers"]


def released_phi(kit: Kit) -> None:
    lines = (("--target", "params=0.6"), ("--target", "params=0.6", "--phi", "one"))
    notes = [kit.released(*line)["notes"]["as_released"]["layers"] for line in lines]
    assert notes[0] != notes[1]
    kit.released("--phi", "two", code=2)


def released_save(kit: Kit) -> None:
    """Of the filters of `w_a`, half are protected: no connection that makes them goes."""
    shares = [kit.released("--target", "params=0.8", "--save", s) for s in (0.0, 0.5)]
    notes = [report["notes"]["as_released"]["layers"] for report in shares]
    assert notes[0] != notes[1]


def released_seed(kit: Kit) -> None:
    lines = [("--target", "params=0.6", "--seed", s) for s in (0, 0, 5)]
    layers = [kit.released(*line)["notes"]["as_released"]["layers"] for line in lines]
    assert layers[0] == layers[1] != layers[2]


def released_threads(kit: Kit) -> None:
    line = ("--data", kit.data(), "--target", "params=0.6", "--force")
    threads_arrive(kit, "released", kit.model(), *line)


def released_samples(kit: Kit) -> None:
    line = ("--target", "params=0.6")
    assert kit.released(*line)["drift"]["samples"] == 20
    assert kit.released(*line, "--samples", 24)["drift"]["samples"] == 6


def released_provider(kit: Kit) -> None:
    def run(*wanted: object, code: int = 0) -> Any:
        return kit.released("--target", "params=0.6", *wanted, code=code)

    provider_arrives(kit, run, lambda report: str(report["provider"]))


def released_images(*line: str) -> Callable[[Kit], None]:
    """Images are prepared by the same function; that an option reaches it is enough."""

    def case(kit: Kit) -> None:
        found = []
        for options in ((), line):
            runtime = kit.runtime()
            model = kit.model({"--layout": CHANNELS_LAST, "--size": ANY_SIZE}.get(line[0], IMAGE))
            folder = kit.images(12 if line[0] == "--fit" else 6)
            images = ("--data", folder, "--target", "params=0.6", "--force")
            code = 0 if options else {"--layout": 3, "--size": 2}.get(line[0], 0)
            kit.cli("released", model, *images, *options, code=code)
            found.append([(v.shape[1:], v.ravel()[:1].tolist()) for v in fed(runtime)][-1:])
        assert found[0] != found[1]

    return case
