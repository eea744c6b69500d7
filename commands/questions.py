"""Questions to whoever sits at the terminal."""

import signal
import sys

import typer

from commands.terminal import console
from labelmill.errors import JobRefused, Mistake


def ask(words: str, default: str | None = None) -> str:
    """What is typed, or the default where nothing is.

    Raises:
        KeyboardInterrupt: Ctrl-C was typed, or the input is at its end.
    """
    _hear_ctrl_c()
    try:
        typed: str = typer.prompt(words, default=default, err=True)
    except typer.Abort:
        raise _interrupted() from None
    return typed


def is_agreed(words: str) -> bool:
    """Whether yes is typed.

    Raises:
        KeyboardInterrupt: Ctrl-C was typed, or the input is at its end.
    """
    _hear_ctrl_c()
    try:
        return typer.confirm(words, err=True)
    except typer.Abort:
        raise _interrupted() from None


def may_spend(sentence: str, question: str) -> bool:
    """Whether what a sentence says may be paid.

    Raises:
        JobRefused: there is nobody to ask for a yes.
        KeyboardInterrupt: as in `is_agreed`.
    """
    if not (sys.stdin.isatty() and console.is_terminal):
        raise JobRefused([Mistake("--yes", f"is needed to spend money without a terminal ({sentence})")])
    return is_agreed(question)


def _hear_ctrl_c() -> None:
    """Let a signal end the reading of a line.

    Polars sets a handler after which the system goes on reading, so that Ctrl-C would do nothing until Enter.
    """
    signal.siginterrupt(signal.SIGINT, True)  # noqa: FBT003  (it takes no names)


def _interrupted() -> KeyboardInterrupt:
    typer.echo(err=True)  # what follows begins a line of its own
    return KeyboardInterrupt()
