"""`make setup` before anything is installed: it shows that it goes on, and ends as what it waits for."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTHON = """#!/bin/bash
if [ "$1" = -m ] && [ "$2" = venv ]; then
  mkdir -p "$4/bin" "$4"/lib/python3.11/site-packages/{a,b,c,d,e,f,g}.dist-info
  printf '#!/bin/bash\\nsleep 1\\nexit STATUS\\n' > "$4/bin/python"
  chmod +x "$4/bin/python"
fi
"""


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, 3])
def test_setting_up_shows_a_sign_of_life(tmp_path, status):
    """While pip says nothing, lines say how far it is, off a terminal too; its failure is make's, and nothing is left running."""
    python = tmp_path / "python"
    python.write_text(PYTHON.replace("STATUS", str(status)))
    python.chmod(0o755)
    words = [
        "make",
        "--no-print-directory",
        "setup",
        f"VENV={tmp_path / 'venv'}",
        f"PYTHON={python}",
        "EVERY=0.1",
    ]
    # The tests may be run by make themselves.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60, env=own)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Setting up ")
    assert len([line for line in lines if line.endswith(" s: 7 packages are installed")]) > 3
    assert (done.returncode == 0) is (status == 0)
    assert (tmp_path / "venv" / "dependencies").exists() is (status == 0)
