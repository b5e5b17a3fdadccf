"""Who may import whom, held to what the docs say: packages stand in an order, nothing imports in a circle."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT

LEAVES = ("config", "dsp_filters", "model", "loss")  # that the packages may import
BEFORE = {  # each package and those that stand before it
    "system": (),
    "records": ("system",),
    "beats": ("system", "records"),
    "networks": ("system", "records", "beats"),
    "scoring": ("system", "records", "beats", "networks"),
    "report": ("system", "records", "beats", "networks", "scoring"),
    "deploy": ("system", "records", "beats", "networks", "scoring"),
    "training": ("system", "records", "beats", "networks", "scoring"),
    "labelling": ("system", "records", "beats", "networks", "scoring", "report"),
    "serving": ("system", "records", "beats", "networks", "scoring", "report", "labelling"),
}
DOORS = {"main", "data_loader", "quantize", "experimental_transformer", "experiments"}
PRODUCT = sorted(
    path for path in (*ROOT.glob("*.py"), *(ROOT / "deep_ecg").rglob("*.py"), *(ROOT / "experiments").rglob("*.py"))
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in PRODUCT}


def imported(path: Path, everywhere: bool = True) -> set[str]:
    """Modules of this project that the file imports; only when it is imported itself, without `everywhere`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in MODULES and name not in ("deep_ecg", "experiments")}


def package_of(module: str) -> str:
    return module.split(".")[1] if module.startswith("deep_ecg.") else module.split(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_before_it(module):
    package = package_of(module)
    used = {package_of(other) for other in imported(MODULES[module])} - {package}
    if package in BEFORE:
        assert used <= {*BEFORE[package], *(LEAVES if package != "system" else ())}
    elif package == "config":
        assert used <= {"system"}
    elif package in LEAVES:
        assert used <= {"config"}
    elif package != "experiments":
        assert "experiments" not in used - ({"experiments"} if module == "main" else set())


def test_nothing_but_tests_imports_main():
    assert not [module for module in MODULES if "main" in imported(MODULES[module]) - {module}]


def test_no_file_imports_another_in_a_circle():
    order = TopologicalSorter({module: imported(path) - {module} for module, path in MODULES.items()})
    assert list(order.static_order())  # CycleError names the circle


def test_the_packages_of_the_rule_are_those_that_there_are():
    assert {path.name for path in (ROOT / "deep_ecg").iterdir() if (path / "__init__.py").is_file()} == set(BEFORE)


def test_scoring_and_what_labels_records_need_no_torch():
    for path in PRODUCT:
        package = package_of(module_of(path))
        if package in ("system", "records", "beats", "scoring", "report", "labelling", "serving"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            names = {alias.name.split(".")[0] for node in body if isinstance(node, ast.Import) for alias in node.names}
            names |= {node.module.split(".")[0] for node in body if isinstance(node, ast.ImportFrom)}
            assert "torch" not in names, path


IMPORT_ALL = """
import os, sys, importlib, socket
def refuse(*arguments, **options): raise AssertionError("an import opened a connection")
socket.socket.connect = refuse
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_importing_any_module_prints_and_writes_nothing(tmp_path):
    names = [name for name in MODULES if not name.endswith("__main__")]
    before = set(ROOT.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *names], cwd=tmp_path, capture_output=True, text=True,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)}, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == [] and set(ROOT.iterdir()) == before
    assert {"main", "config"} <= set(names)
