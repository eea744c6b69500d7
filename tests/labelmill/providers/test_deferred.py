"""Packages of others that are loaded once they are asked for, each in a fresh interpreter."""

import ast
import subprocess
import sys
from importlib.util import find_spec, resolve_name
from pathlib import Path

import pytest

from labelmill.providers.deferred import PACKAGES

IMPORTS = "import labelmill.providers, sys, threading, {parent}, {package}\n"
ASKS = {
    "a name": "{package}.{name}",
    "a name of its own": "from {package} import {name}",
    "all names": "assert '{name}' in dir({package})",
    "whatever it says is public": "from {package} import *\nassert {name}",
}
NAMES = {
    "openai.types": ("Batch", "openai.types.eval_create_params"),
    "openai.types.graders": ("StringCheckGrader", "openai.types.graders.multi_grader"),
    "openai.types.responses": ("Response", "openai.types.responses.response_stream_event"),
    "langsmith.types": ("Issue", "langsmith.types.sandbox_response"),
}
"""A public name of each package, and a module that it brings along."""


def run(script):
    """Run a script; what it says is shown where it fails."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def test_every_package_is_tried_here():
    """Each package that is deferred is asked for a name below."""
    assert NAMES.keys() == PACKAGES


@pytest.mark.parametrize("package", NAMES)
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_whoever_asks_has_all_of_it(package, ask):
    """The package is not loaded when it is imported, and is as ever once it is asked for anything."""
    name, brought = NAMES[package]
    parent = package.partition(".")[0]
    script = IMPORTS.format(parent=parent, package=package)
    script += f"assert {brought!r} not in sys.modules\n"
    script += ask.format(package=package, name=name)
    script += f"\nmodule = sys.modules[{package!r}]\nassert {brought!r} in sys.modules\n"
    script += "assert not {'__getattr__', '__dir__'} & vars(module).keys()\n"
    script += "assert type(module.__loader__) is type(module.__spec__.loader) is type(threading.__loader__)\n"
    script += "assert not hasattr(module, 'no_such_name')"
    run(script)


def test_a_name_that_there_is_not_is_told_as_ever():
    """Its error is that of any module, the first time and later."""
    script = IMPORTS.format(parent="openai", package="openai.types") + (
        "for _ in range(2):\n"
        "    try: openai.types.no_such_name\n"
        "    except AttributeError as error: print(error)\n"
    )
    assert run(script) == "module 'openai.types' has no attribute 'no_such_name'\n" * 2


def test_threads_that_ask_at_once_all_have_it():
    """None of them sees a package that is half there."""
    script = IMPORTS.format(parent="openai", package="openai.types") + (
        "gate, found = threading.Barrier(8), []\n"
        "def ask():\n"
        "    gate.wait()\n"
        "    found.append(openai.types.Batch)\n"
        "threads = [threading.Thread(target=ask) for _ in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "from openai.types.batch import Batch\n"
        "assert found == [Batch] * 8"
    )
    run(script)


def test_who_has_loaded_one_before_keeps_it():
    """What a program has imported by itself is left alone."""
    run(
        "import openai, sys\nbefore = sys.modules['openai.types']\n"
        "import labelmill.providers.openai\n"
        "assert sys.modules['openai.types'] is before and '__getattr__' not in vars(before)"
    )


def test_a_request_needs_none_of_them(scripted, completion, tmp_path):
    """A whole run against an endpoint of OpenAI's dialect leaves them unloaded."""
    scripted.reply((200, completion()))
    script = (
        "import sys, polars as pl, labelmill\n"
        "frame = pl.DataFrame({'text': ['the match']})\n"
        f"model = {{'name': 'gpt-4o-mini', 'base_url': {scripted.base_url!r}}}\n"
        f"labelmill.label(frame, text='text', labels=['sport', 'money'], model=model, output={str(tmp_path / 'out')!r})\n"
        f"print([name for name in {sorted(brought for _, brought in NAMES.values())!r} if name in sys.modules])"
    )
    assert run(script) == "[]\n"


def test_no_module_waits_for_its_package():
    """Two threads can't wait for each other: no module of a package asks the package for a name while it is imported."""
    for top in {package.partition(".")[0] for package in PACKAGES}:
        root = Path(find_spec(top).origin).parent
        for path in (root / "types").rglob("*.py"):
            parts = path.relative_to(root.parent).with_suffix("").parts
            own = ".".join(parts[:-1])  # what its relative imports begin at
            if path.name == "__init__.py" and own in PACKAGES:
                continue
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ImportFrom):
                    asked = resolve_name("." * node.level + (node.module or ""), own)
                    assert asked not in PACKAGES, f"{path}:{node.lineno}"
