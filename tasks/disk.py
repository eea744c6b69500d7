"""A disk that is full or read-only, as a sentence rather than a traceback."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from labelmill.errors import CannotWrite, LabelmillError
from labelmill.run.label_run import LabelRun


def disk_errors_as_sentences(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a task whose first argument is its run raise a sentence when a file can't be written."""

    @wraps(function)
    def task(run: LabelRun, *arguments: Any, **options: Any) -> Any:
        try:
            return function(run, *arguments, **options)
        except OSError as error:
            raise CannotWrite.because(error, run.folder.path) from None

    return task


def _without_traceback(line: logging.LogRecord) -> bool:
    if line.exc_info and isinstance(line.exc_info[1], LabelmillError):
        line.exc_info = None
    return True


# Prefect logs whatever a task raises with its traceback; a sentence needs none.
logging.getLogger("prefect.task_runs").addFilter(_without_traceback)
