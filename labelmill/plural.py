"""Numbers with what they count: one thing is never some things."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with what it counts: `1 file`, `1,204 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def are_counted(number: int, one: str) -> str:
    """The same with its verb: `1 text is`, `1,204 texts are`."""
    return f"{counted(number, one)} {'is' if number == 1 else 'are'}"
