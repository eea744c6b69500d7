"""Hints that tell people to install something: a command that works as it stands, in the environment that runs."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

from labelmill import installing as module
from labelmill.installing import installing
from labelmill.providers.langasync import REQUIREMENT

ROOT = Path(__file__).parent.parent.parent


def test_the_command_is_for_the_interpreter_that_runs(monkeypatch):
    """Whatever is on the PATH: its own pip, or uv where the environment was made by uv, without a pip."""
    assert installing("langchain-x>=1,<2") == f"{sys.executable} -m pip install 'langchain-x>=1,<2'"
    monkeypatch.setattr(sys, "executable", "/a folder/bin/python")
    assert shlex.split(installing("x==1"))[:3] == ["/a folder/bin/python", "-m", "pip"]
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    monkeypatch.setattr(module.shutil, "which", lambda _: "/usr/bin/uv")
    words = ["uv", "pip", "install", "--python", "/a folder/bin/python", "x==1"]
    assert shlex.split(installing("x==1")) == words


def test_the_hint_for_langasync_is_what_its_extra_brings():
    """The version that the hint names is the one that is locked and tested."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["langasync"] == [REQUIREMENT]


def test_nothing_tells_to_install_labelmill_from_an_index():
    """No index has it: neither the code nor a page says `pip install labelmill`, with or without an extra."""
    told = re.compile(r"pip install ['\"]?labelmill\b")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    sources = [
        path
        for folder in ("labelmill", "commands", "flows", "tasks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(sources) > 100
    assert [path for path in (*pages, *sources) if told.search(path.read_text(encoding="utf-8"))] == []
