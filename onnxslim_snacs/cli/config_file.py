"""`--config run.yaml`: a configuration in a file, of which the command line may say otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onnxslim_snacs.cli.panels import OUTPUT_PANEL
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.config.line import as_pairs
from onnxslim_snacs.config.plain import from_plain, plain
from onnxslim_snacs.errors import InputRefused, UsageError, foreign


def read_config(path: Path) -> CompressConfig:
    """A configuration from YAML, of which JSON is a part.

    Raises:
        UsageError: it is none; naming the field.
        FileSystemError: it cannot be read.
    """
    import yaml

    from onnxslim_snacs.model.text import read_text

    name = foreign(path)
    try:
        data = yaml.safe_load(read_text(path))
    except InputRefused as error:
        raise UsageError(f"--config {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--config {name}: no YAML ({foreign(error)})") from error
    return from_plain(CompressConfig, {} if data is None else data, f"--config {name}")


def write_config(config: CompressConfig) -> str:
    """The same as YAML, every field."""
    import yaml

    text: str = yaml.safe_dump(plain(config), sort_keys=False)
    return text


def _defaults(context: typer.Context, path: Path | None) -> Path | None:
    """What the file says is what options are if nobody gives them."""
    if path is None or context.resilient_parsing:
        return path
    found: dict[str, Any] = {}
    several = {p.name for p in context.command.params if getattr(p, "multiple", False)}
    for option, text in as_pairs(read_config(path)):
        name = option.removeprefix("--").replace("-", "_")
        if text is None:
            found[name.removeprefix("no_")] = not name.startswith("no_")
        elif name in several:
            found.setdefault(name, []).append(text)
        else:
            found[name] = text
    context.default_map = found
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="RUN.yaml",
        is_eager=True,
        callback=_defaults,
        help="Take options from a file (YAML or JSON, see --print-config); those that are typed go "
        "before.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
PrintConfig = Annotated[
    bool,
    typer.Option(
        "--print-config",
        help="Print what the command line means as a file for --config, and do nothing else.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
