"""`python -m practice`: the practice provider in the foreground."""

import argparse
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from practice.connection import HOST, listen, serve
from practice.server import make_app
from practice.settings import PracticeSettings

_MISTAKE = 2


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; the exit code is 0, or 2 for a mistake in the arguments."""
    asked = _parser().parse_args(arguments)
    follows_parent = asked.settings_json == "-"
    given = sys.stdin.buffer.readline().decode() if follows_parent else asked.settings_json
    try:
        settings = _settings(given, asked)
        app = make_app(settings, asked.folder)
        listening = listen(asked.port)
    except (ValidationError, OSError) as error:
        _say(f"The practice provider cannot start: {error}")
        return _MISTAKE
    port = listening.getsockname()[1]
    tidy: Callable[[], None] = app.state.desk.store.close
    _say(
        f"Labelmill's practice provider answers at http://{HOST}:{port}/v1. "
        "It is not a language model: it matches words and costs nothing."
    )
    if follows_parent:
        threading.Thread(target=_end_with, args=(sys.stdin.buffer, tidy), daemon=True).start()
        sys.stdout.write(json.dumps({"port": port}) + "\n")
        sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        serve(app, listening)
    tidy()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m practice",
        description="An OpenAI-compatible server on loopback for practice. It is not a language model.",
    )
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--folder", type=Path, help="keeps files and batches; without it they go at the end")
    parser.add_argument("--latency-seconds", type=float, help="mean time to an answer")
    parser.add_argument("--latency-sigma", type=float, help="spread of that time (lognormal)")
    parser.add_argument("--requests-per-minute", type=int, help="more get 429")
    parser.add_argument("--tokens-per-minute", type=int, help="more get 429")
    parser.add_argument(
        "--settings-json",
        default="{}",
        help="all settings as JSON; '-' reads a line of stdin, tells the port on stdout, ends with stdin",
    )
    return parser


def _settings(given: str, asked: argparse.Namespace) -> PracticeSettings:
    """The settings of the JSON, with the options given besides it."""
    settings = PracticeSettings.model_validate_json(given)
    names = ("latency_seconds", "latency_sigma", "requests_per_minute", "tokens_per_minute")
    options = {name: value for name in names if (value := getattr(asked, name)) is not None}
    return PracticeSettings.model_validate(settings.model_dump() | options)


def _end_with(parent: BinaryIO, tidy: Callable[[], None]) -> None:
    """End this process when the parent closes its side, on purpose or by dying.

    From a thread and at once: neither a hung request nor a busy event loop may keep an orphan alive.
    """
    parent.read()
    tidy()
    os._exit(0)


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
