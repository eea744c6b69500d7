"""Questions to whoever sits at the terminal."""

import signal

import typer


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


def _hear_ctrl_c() -> None:
    """Let a signal end the reading of a line.

    Polars sets a handler after which the system goes on reading, so that Ctrl-C would do nothing until Enter.
    """
    signal.siginterrupt(signal.SIGINT, True)  # noqa: FBT003  (it takes no names)


def _interrupted() -> KeyboardInterrupt:
    typer.echo(err=True)  # what follows begins a line of its own
    return KeyboardInterrupt()
