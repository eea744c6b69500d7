"""Python's garbage collector, while texts are asked."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_COLLECT_AFTER = (50_000, 20, 20)


@contextmanager
def few_collections() -> Iterator[None]:
    """For the length of the block, have Python's collector look through what is new alone, and seldom.

    What the libraries hold is half a million objects that never go, and each collection walks through them: a fifth of a
    text's time.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
