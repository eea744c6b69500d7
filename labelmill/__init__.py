"""Labelmill labels Parquet datasets with a language model and keeps the bill.

`job` says what is wanted, `question` what is asked, `dataset` reads it and writes it back, `providers` are asked, `live` and
`batch` are the two ways to ask, `money` counts, `store` remembers, `run` holds it together, `report` tells, and `pipeline`
runs whole jobs. Nothing here knows of Prefect.

`labelmill.label` does all of it from Python.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelmill.errors import (
        CannotWrite,
        JobRefused,
        LabelmillError,
        Mistake,
        RunInterrupted,
        RunNotCompleted,
    )
    from labelmill.pipeline.call import label
    from labelmill.run.record import RunRecord

    __version__: str

__all__ = [
    "CannotWrite",
    "JobRefused",
    "LabelmillError",
    "Mistake",
    "RunInterrupted",
    "RunNotCompleted",
    "RunRecord",
    "__version__",
    "label",
]

_MODULES = {"label": "labelmill.pipeline.call", "RunRecord": "labelmill.run.record"}


if not TYPE_CHECKING:  # to a type checker any name would be one

    def __getattr__(name: str) -> Any:
        """Import what is asked for: a run needs a second of imports, and `import labelmill` none."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "__version__":
            found = import_module("importlib.metadata").version("labelmill")
        else:
            with garbage_waits():
                found = getattr(import_module(_MODULES.get(name, "labelmill.errors")), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """What can be asked for."""
    return sorted({*globals(), *__all__})


@contextmanager
def garbage_waits() -> Iterator[None]:
    """Let no garbage be collected for the length of the block.

    What is imported there is none, and to look through it again and again is a fifth of the time to a first request.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
