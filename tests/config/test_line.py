"""Values to options and back, and values from JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxslim_snacs.cli.app import run
from onnxslim_snacs.config import CompressConfig, DataConfig, Drop, FinetuneConfig
from onnxslim_snacs.config.cores import granted, physical_cores
from onnxslim_snacs.config.line import as_options
from onnxslim_snacs.config.plain import from_plain, plain
from onnxslim_snacs.errors import UsageError

DATA = DataConfig(
    path="d.npz",
    samples=40,
    mean=(0.1, 0.2, 0.3),
    std=(0.5,),
    size=(5, 7),
    layout="NHWC",
    input_shapes={"x": (1, 5), "past": ()},
    sample_axes={"x": 1},
)
CONFIGS = (
    CompressConfig(),
    CompressConfig(ratio=0.25, multiple_of=8, protect=("a*", "b"), seed=3, allow_inexact=True),
    CompressConfig(
        data=DATA,
        target={"macs": 0.5, "latency": 0.75},
        allow_slower=True,
        criterion="l1",
        allocation="uniform",
        tries=2,
        options={},
        recover="bias",
        width="refit",
        multiple_of=None,
        threads=3,
        provider="cpu",
    ),
    CompressConfig(data=DATA, max_drop=0.03125, options={"groups": "4"}),
)


@pytest.mark.parametrize("config", CONFIGS)
def test_options_lead_back_to_the_configuration(
    config: CompressConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[CompressConfig] = []

    def note(model: Path, config: CompressConfig, **more: Any) -> None:
        given.append(config)

    monkeypatch.setattr("onnxslim_snacs.commands.compress.compress", note)
    assert run(["compress", "m.onnx", *as_options(config)]) == 0
    assert given == [config]


@pytest.mark.parametrize("config", CONFIGS)
def test_json_leads_back_to_the_configuration(config: CompressConfig) -> None:
    assert from_plain(CompressConfig, plain(config), "config") == config


def test_what_is_not_said_is_as_usual() -> None:
    assert as_options(FinetuneConfig()) == ()
    # other machines have other numbers of cores
    assert as_options(CompressConfig()) == ("--threads", str(physical_cores()))
    assert from_plain(CompressConfig, {}, "config").goal == Drop()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"data": {"samples": "many"}}, "config.data.samples: got 'many'"),
        ({"targett": {"macs": 0.5}}, "config: there is no field targett"),
        ({"data": []}, "config.data: got []"),
        ({"protect": "x"}, "config.protect: got 'x'"),
        ({"criterion": ["l1"]}, "config.criterion"),
    ],
)
def test_a_wrong_field_is_named(data: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_plain(CompressConfig, data, "config")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000", 1), ("400000 100000", 4), ("50000 100000", 1)]
)
def test_a_container_has_the_cores_that_it_is_granted(
    tmp_path: Path, text: str, cores: int
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert granted(quota) == cores
    quota.write_text("max 100000")
    assert granted(quota) == granted(tmp_path / "none") > 1024
