"""The layout holds: what Prefect loads loads from anywhere, imports go one way, no name shadows another."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "infra", "policy", "portal")
FLOWS = sorted((ROOT / "flows").glob("*.py"))

LOAD = """
import json, sys
from prefect.flows import load_flow_from_entrypoint
for entrypoint in json.loads(sys.argv[1]):
    flow = load_flow_from_entrypoint(entrypoint)
    print(entrypoint, flow.name)
"""


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_every_entrypoint_of_prefect_yaml_loads_from_anywhere(tmp_path: Path) -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    entrypoints = [each["entrypoint"] for each in declared]
    assert len(entrypoints) >= 8
    absolute = [f"{ROOT / entry.partition(':')[0]}:{entry.partition(':')[2]}" for entry in entrypoints]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(absolute)],
        cwd=tmp_path,
        env={**os.environ, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    names = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith(str(ROOT))]
    assert names == [entry.partition(":")[2] for entry in entrypoints]


def test_no_module_is_called_as_one_of_python_or_as_a_root() -> None:
    taken = set(sys.stdlib_module_names) | set(PACKAGES)
    inside = [path for path in modules() if path.stem != "__init__"]
    assert len(inside) > 150
    # Modules in `flows/` are imported by their bare name too, because Prefect puts that folder on the path.
    shadowing = [
        path.relative_to(ROOT).as_posix()
        for path in inside
        if path.stem in (taken if path.parent.name == "flows" else set(PACKAGES))
    ]
    assert shadowing == []


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: str(path.name))
def test_a_flow_module_defines_functions_only_and_imports_absolutely(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        assert not isinstance(node, ast.ClassDef), f"{path.name}: a class would exist twice"
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path.name}: a relative import"


def test_imports_go_one_way() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " 0 broken" in done.stdout


def test_every_package_with_modules_is_built() -> None:
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for package in sorted({path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in modules()}):
        assert f'"{package}"' in declared, f"{package} is missing from [tool.setuptools] packages"
