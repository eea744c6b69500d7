"""Names that tell flow runs apart."""

from datetime import datetime


def time_words(moment: datetime) -> str:
    """A moment as it stands in a run's name, on this machine's clock, to the second: two runs of one minute differ too."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
