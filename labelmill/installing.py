"""How a package is installed where this program runs, for sentences that tell people to."""

import shlex
import shutil
import sys
from importlib.util import find_spec


def installing(requirement: str) -> str:
    """The command that installs a package into this program's environment, with what made that.

    Args:
        requirement: the package, as pip takes it. No index has Labelmill, so that an extra of it is named by what it brings.
    """
    python, package = shlex.quote(sys.executable), shlex.quote(requirement)
    if find_spec("pip") is None and shutil.which("uv"):
        return f"uv pip install --python {python} {package}"
    return f"{python} -m pip install {package}"
