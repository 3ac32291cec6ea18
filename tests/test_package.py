"""How the package holds together: imports, the public surface, the two ways to reach `passes`."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import onnxslim_snacs

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "onnxslim_snacs"

#: Frozen: a name that is added here is promised to users from then on.
PUBLIC = {
    "CompressConfig",
    "DataConfig",
    "Plan",
    "Report",
    "SnacsError",
    "apply",
    "compress",
    "inspect",
    "verify",
}

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import onnxslim_snacs
names = [m.name for m in pkgutil.walk_packages(onnxslim_snacs.__path__, "onnxslim_snacs.")]
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted(sys.modules)]))
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_can_be_imported_and_passes_only_as_ours() -> None:
    names, loaded = json.loads(run(IMPORT_ALL))
    on_disk = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
    }
    on_disk |= {f"onnxslim_snacs.passes.{p.stem}" for p in (ROOT / "passes").glob("[!_]*.py")}
    on_disk |= {"onnxslim_snacs.passes"}  # a link, which not every Python follows
    assert set(names) == on_disk - {"onnxslim_snacs"}
    assert "onnxslim_snacs.passes.prune" in loaded
    assert not [name for name in loaded if name.split(".")[0] == "passes"]


def test_the_public_surface_is_frozen() -> None:
    assert set(onnxslim_snacs.__all__) == PUBLIC
    assert len(PUBLIC) <= 10
    for name in PUBLIC:
        assert getattr(onnxslim_snacs, name).__doc__
    with pytest.raises(AttributeError):
        _ = onnxslim_snacs.no_such_name


@pytest.mark.parametrize("heavy", ["torch", "onnxruntime"])
def test_heavy_modules_are_imported_late(heavy: str) -> None:
    code = f"{IMPORT_ALL.replace('print', 'str')}\nprint({heavy!r} in sys.modules)"
    assert run(code).strip() == "False"


def test_the_command_line_loads_little() -> None:
    code = "import sys, onnxslim_snacs.cli; print([m for m in sys.modules if m in HEAVY])"
    heavy = {"onnx", "numpy", "scipy", "torch", "onnxruntime", "onnx_graphsurgeon"}
    assert run(code.replace("HEAVY", repr(heavy))).strip() == "[]"


def test_passes_is_a_relative_link_and_flat() -> None:
    link = PACKAGE / "passes"
    assert link.is_symlink()
    assert link.readlink() == Path("../passes")
    assert [p for p in (ROOT / "passes").iterdir() if p.is_dir() and p.name != "__pycache__"] == []


def test_every_folder_is_packaged() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")
    }
    listed = config["tool"]["setuptools"]["packages"]
    assert set(listed) == folders | {"onnxslim_snacs.passes"}
    assert listed == sorted(listed)
    version = config["project"]["version"]
    assert version == onnxslim_snacs.__version__


@pytest.mark.slow
def test_the_wheel_holds_everything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), "."]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {str(p.relative_to(ROOT)) for p in PACKAGE.rglob("*.py")}
    files |= {f"onnxslim_snacs/passes/{p.name}" for p in (ROOT / "passes").glob("*.py")}
    for kind in ("published/*.json", "*.css"):
        files |= {str(p.relative_to(ROOT)) for p in PACKAGE.rglob(kind)}
    assert files | {"onnxslim_snacs/py.typed"} == {n for n in names if ".dist-info/" not in n}
    assert any(n.endswith("licenses/LICENSE") for n in names)
