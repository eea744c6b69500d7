"""The house: imports point one way, and names say something."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from labelmill.providers.table import PROVIDERS

ROOT = Path(__file__).parent.parent
LAYERS = ["labelmill", "tasks", "flows", "commands"]
BANNED_NAMES = {"utils", "helpers", "manager", "core", "process", "data"}


def _modules(layer):
    return sorted((ROOT / layer).rglob("*.py"))


def _imported_by(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer):
    """A layer imports only itself and the layers below it: commands -> flows -> tasks -> labelmill."""
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    for path in _modules(layer):
        assert not above & set(_imported_by(path)), f"{path.relative_to(ROOT)} imports from a layer above"


def test_labelmill_knows_nothing_of_prefect():
    """The work itself runs without Prefect."""
    users = [path for path in _modules("labelmill") if "prefect" in _imported_by(path)]
    assert users == []


FLOORS = [
    "errors",
    "plural",
    "stop",
    "installing",
    "job",
    "money",
    "question",
    "store",
    "dataset",
    "providers",
    "alert",
    "live",
    "batch",
    "check",
    "run",
    "compare",
    "report",
    "pipeline",
    "__init__",
]
"""The packages of `labelmill/` from the ground up; each imports only those before it. What stands on top of all is imported
when it is asked for."""


def test_each_package_stands_on_those_below_it():
    """Inside `labelmill/` the packages are floors, and no import hides in a function to get around that."""
    packages = {path.stem for path in (ROOT / "labelmill").iterdir() if path.name[0] not in "._"}
    assert packages - {"py"} == set(FLOORS) - {"__init__"}
    for path in _modules("labelmill"):
        floor = path.relative_to(ROOT / "labelmill").parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("labelmill."):
                below = node.module.split(".")[1]
                assert FLOORS.index(below) <= FLOORS.index(floor), f"{path}: {node.module}"
                is_for_types = any(node in one.body for one in tree.body if isinstance(one, ast.If))
                is_open = node in tree.body or (floor == "__init__" and is_for_types)
                assert is_open, f"{path}: {node.module} is imported inside a function"


def test_no_providers_name_is_compared():
    """Whoever wants to know what a provider can do asks it: its name is compared nowhere, nor is a batch adapter's but in its own file."""
    adapters = {"langasync"}
    for layer in LAYERS:
        for path in _modules(layer):
            names = set(PROVIDERS) if path.parent.name == "providers" else {*PROVIDERS, *adapters}
            for node in ast.walk(ast.parse(path.read_text())):
                values = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
                values += [node.value] if isinstance(node, ast.MatchValue) else []
                said = {
                    part.value
                    for value in values
                    for part in getattr(value, "elts", [value])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
                assert not said & names, f"{path}:{node.lineno}: compares {said & names}"


def test_the_practice_provider_stands_alone():
    """It imports nothing of Labelmill, and nothing of Labelmill imports it: they talk over HTTP."""
    assert not [path for path in _modules("practice") if set(_imported_by(path)) & set(LAYERS)]
    assert not [path for layer in LAYERS for path in _modules(layer) if "practice" in _imported_by(path)]


def test_files_are_named_for_one_thing():
    """No file's name says nothing."""
    for layer in [*LAYERS, "practice"]:
        assert not BANNED_NAMES & {path.stem for path in _modules(layer)}


def test_no_flow_file_shadows_a_package():
    """Prefect puts flows/ first on sys.path, so that no file in it may bear the name of anything importable."""
    names = [path.stem for path in _modules("flows") if path.stem != "__init__"]
    # In an interpreter of its own: pytest puts the folders of tests on the path too.
    asked = (
        "import sys; from importlib.util import find_spec; print([n for n in sys.argv[1:] if find_spec(n)])"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-c", asked, *names], capture_output=True, text=True, check=True
    )
    assert (found.stdout.strip(), len(names) > 2) == ("[]", True)
