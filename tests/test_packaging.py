"""What a build is: nothing but an editable install of the clone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _built(kind, folder):
    """Have hatchling build something of the clone, as pip does."""
    asked = f"import hatchling.build, sys; print(hatchling.build.{kind}(sys.argv[1]))"
    return subprocess.run(
        [sys.executable, "-c", asked, folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("kind", ["build_wheel", "build_sdist"])
def test_no_package_is_built_and_a_sentence_says_what_to_do(kind, tmp_path):
    """Whoever installs it in another way than as a clone is told how, without a traceback, and gets nothing that half works."""
    done = _built(kind, tmp_path)
    assert done.returncode == 1
    assert "Labelmill is used from its clone" in done.stderr
    assert "make setup" in done.stderr
    assert "pip install --editable PATH_OF_THE_CLONE" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_editable_install_leads_to_the_clone(tmp_path):
    """What `make setup` installs is a pointer to the clone, with the command `labelmill`."""
    done = _built("build_editable", tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        (pointer,) = [name for name in names if name.endswith(".pth")]
        assert str(ROOT) in packed.read(pointer).decode()
        (entries,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "labelmill = commands.main:main" in packed.read(entries).decode()
