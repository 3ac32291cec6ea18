"""`compress` as a pass of Olive, imported by Olive alone (extra `[olive]`).

Olive finds passes in a package configuration: `python -m onnxslim_snacs.pipelines.olive_pass`
writes its own one with this pass added.  The classes of Olive are not loaded before they are asked
for, so that this module can be imported without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.errors import UsageError

NAME = "OnnxChannelPruning"

#: Fields of `CompressConfig` that the pass takes by their own names, and those of `DataConfig`.
FIELDS = (
    *("ratio", "max_drop", "allow_slower", "criterion", "allocation", "tries", "options"),
    *("recover", "allow_inexact", "width", "protect", "multiple_of", "seed", "threads"),
    *("provider", "metric", "require"),
)
DATA_FIELDS = ("samples", "mean", "std", "size", "layout", "input_shapes", "sample_axes")
#: Budgets, each a parameter of its own, so that Olive can search over it.
BUDGETS = ("params", "macs", "bytes", "latency")
#: What Olive tries of each parameter, if it searches and nobody says otherwise.
SEARCHED: Mapping[str, list[Any]] = {
    "macs": [0.8, 0.65, 0.5, 0.35],
    "criterion": ["snacs-refit", "refit", "l1"],
    "multiple_of": [1, 8],
}


def compress_config(values: Mapping[str, Any], loader: Any = None) -> CompressConfig:
    """The configuration of a run from the parameters of the pass.

    Args:
        values: parameter -> value; None stands for what `compress` does without it.
        loader: samples, instead of the parameter `data`.

    Raises:
        UsageError: they do not make sense together.
    """
    if loader is not None and values.get("data") is not None:
        raise UsageError(f"{NAME}: data and data_config exclude each other")
    given = {name: value for name, value in values.items() if value is not None}
    where: dict[str, Any] = {name: given[name] for name in DATA_FIELDS if name in given}
    data = DataConfig(loader if loader is not None else given.get("data"), **where)
    target = {name: given[name] for name in BUDGETS if name in given}
    named: dict[str, Any] = {name: given[name] for name in FIELDS if name in given}
    return CompressConfig(data=data, target=target, **named)


def package_config() -> dict[str, Any]:
    """Olive's own package configuration with this pass in it."""
    from olive.package_config import OlivePackageConfig

    found: dict[str, Any] = json.loads(
        Path(OlivePackageConfig.get_default_config_path()).read_text()
    )
    found["passes"][NAME] = {
        "module_path": f"onnxslim_snacs.pipelines.olive_pass.{NAME}",
        "supported_providers": ["*"],
        "supported_accelerators": ["*"],
        "supported_precisions": ["*"],
        "supported_algorithms": [],
        "supported_quantization_encodings": [],
        "dataset": "dataset_optional",
    }
    return found


def __getattr__(name: str) -> Any:
    if name != NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _pass()


@cache
def _pass() -> Any:
    """The class, made when Olive asks for it."""
    from olive.data.config import DataConfig as OliveData
    from olive.model import ONNXModelHandler
    from olive.model.utils import resolve_onnx_path
    from olive.passes import Pass
    from olive.passes.pass_config import PassConfigParam
    from olive.search.search_parameter import Categorical

    words = _words()

    def parameter(name: str) -> Any:
        searched = SEARCHED.get(name)
        support = None if searched is None else Categorical(searched)
        return PassConfigParam(type_=Any, description=words[name], search_defaults=support)

    class OnnxChannelPruning(Pass):  # type: ignore[misc]
        """Removes channels of an ONNX model, proves the cut, and re-fits what is left."""

        @classmethod
        def _default_config(cls, accelerator_spec: Any) -> dict[str, Any]:
            names = ("data", *BUDGETS, *FIELDS, *DATA_FIELDS)
            loaded = PassConfigParam(
                type_=OliveData | dict | None,
                description="Samples as Olive loads them, instead of `data`.",
            )
            return {**{name: parameter(name) for name in names}, "data_config": loaded}

        def _run_for_config(self, model: Any, config: Any, output_model_path: str) -> Any:
            values = {name: getattr(config, name) for name in type(config).model_fields}
            told = values.pop("data_config", None)
            loader = None
            if told is not None:
                told = OliveData.model_validate(told) if isinstance(told, dict) else told
                loader = told.to_data_container().create_dataloader()
            out = resolve_onnx_path(output_model_path)
            report = Path(out).with_suffix(".report.json")
            plan = Path(out).with_suffix(".plan.json")
            compress(
                model.model_path,
                compress_config(values, loader),
                out=out,
                plan_out=plan,
                report_out=report,
                overwrite=True,
            )
            return ONNXModelHandler(model_path=out)

    OnnxChannelPruning.__module__ = __name__
    OnnxChannelPruning.__qualname__ = NAME
    return OnnxChannelPruning


def _words() -> dict[str, str]:
    """What the docstrings of the configurations say of each parameter."""
    from onnxslim_snacs.config.json_schema import described

    found = {**described(DataConfig), **described(CompressConfig)}
    budgets = {name: f"Share of the original's {name} to keep." for name in BUDGETS}
    known = {field.name for kind in (DataConfig, CompressConfig) for field in fields(kind)}
    assert set(FIELDS) | set(DATA_FIELDS) <= known
    return {**found, **budgets, "data": found["path"]}


if __name__ == "__main__":
    print(json.dumps(package_config(), indent=1))
