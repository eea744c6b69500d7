"""What a build says: Labelmill is installed from its clone, and as it stands there (docs/decisions/0038)."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SENTENCE = """\
Labelmill is used from its clone, and there is no package of it to build. In the clone:

    make setup

makes .venv with .venv/bin/labelmill. To have it in another environment, keep the clone and install it as it stands there:

    python -m pip install --editable PATH_OF_THE_CLONE
"""


class CloneOnly(BuildHookInterface):  # type: ignore[type-arg]
    """Refuses to build anything but what an editable install needs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  (hatchling's form)
        """Say what to do instead.

        Raises:
            SystemExit: with a sentence, since nobody would find it under a traceback.
        """
        if version != "editable":
            raise SystemExit(f"\n{SENTENCE}")
