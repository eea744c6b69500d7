"""`python -m practice`: the practice provider in the foreground."""

import argparse
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from practice.connection import HOST, listen, serve
from practice.server import make_app
from practice.settings import PracticeSettings, WrongSettingsError, settings_in, settings_of

_MISTAKE = 2


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; the exit code is 0, or 2 for a mistake in the arguments."""
    asked = _parser().parse_args(arguments)
    follows_parent = asked.settings_json == "-"
    given = sys.stdin.buffer.readline().decode() if follows_parent else asked.settings_json
    try:
        settings = _settings(given, asked)
        if asked.check:
            if follows_parent:
                _announce({"mistakes": []})
            return 0
        app = make_app(settings, asked.folder)
        listening = listen(asked.port)
    except (WrongSettingsError, OSError) as error:
        if follows_parent and isinstance(error, WrongSettingsError):
            _announce({"mistakes": error.mistakes})
        _say(f"The practice provider cannot start: {error}")
        return _MISTAKE
    port = listening.getsockname()[1]
    tidy: Callable[[], None] = app.state.practice.store.close
    _say(
        f"Labelmill's practice provider answers at http://{HOST}:{port}/v1. "
        "It is not a language model: it matches words and costs nothing."
    )
    if follows_parent:
        threading.Thread(target=_end_with, args=(sys.stdin.buffer, tidy), daemon=True).start()
        _announce({"port": port})
    with contextlib.suppress(KeyboardInterrupt):
        serve(app, listening)
    tidy()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m practice",
        description="A model provider on loopback for practice. It is not a language model.",
    )
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--folder", type=Path, help="keeps files and batches; without it they go at the end")
    parser.add_argument(
        "--settings", type=Path, help="a TOML file with any of the settings (docs/practice.md)"
    )
    parser.add_argument("--latency-seconds", type=float, help="mean time to an answer")
    parser.add_argument("--seed", type=int, help="another one gives faults and delays to other texts")
    parser.add_argument("--check", action="store_true", help="say what is wrong with the settings, and end")
    parser.add_argument(
        "--settings-json",
        default="{}",
        help="settings as JSON; '-' reads a line of stdin, tells the port (or the mistakes) on stdout, ends with stdin",
    )
    return parser


def _settings(given: str, asked: argparse.Namespace) -> PracticeSettings:
    """The settings of the file, over them those of the JSON, over them the options."""
    try:
        told = json.loads(given)
    except ValueError:
        raise WrongSettingsError([("", "--settings-json is not JSON")]) from None
    if not isinstance(told, dict):
        raise WrongSettingsError([("", "--settings-json is not a JSON object")])
    told |= {
        name: value for name in ("latency_seconds", "seed") if (value := getattr(asked, name)) is not None
    }
    mistakes: list[tuple[str, str]] = []
    filed: Mapping[str, Any] = {}
    try:
        filed = {} if asked.settings is None else settings_in(asked.settings)
    except WrongSettingsError as error:
        mistakes += error.mistakes
    try:
        settings = settings_of({**filed, **told})
    except WrongSettingsError as error:
        mistakes += error.mistakes
    if mistakes:
        raise WrongSettingsError(mistakes)
    return settings


def _announce(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


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
