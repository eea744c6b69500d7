"""The sample: which texts of a source a comparison asks."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from labelmill.dataset.digests import SourceDigests
from labelmill.dataset.plan import Chunk, read_chunk
from labelmill.live.questions import Question
from labelmill.store.files import disk_errors


@dataclass(frozen=True)
class Sample:
    """Distinct texts of a source, in a Parquet file (`row_key`, `text`), and how many there are."""

    path: Path
    rows: int

    def questions(self) -> list[Question]:
        """The texts as questions, in the source's order."""
        return [Question(key, text) for key, text in read_chunk(self.path, Chunk(0, 0, self.rows))]


def draw_sample(digests: SourceDigests, rows: int) -> pl.DataFrame:
    """So many distinct texts of a source, in its order (`row_key`, `text`); all of them where there are fewer.

    They are those whose digests are the smallest. A digest is a cryptographic hash of the text, so that this is a random
    choice which doesn't depend on how the source is sorted, and the same one each time. Rows without a text are left out, and
    so are files that can't be read: `digests` tells of them.
    """
    readable = digests.read(range(len(digests.files)))
    smallest = digests.first_places(readable, lambda texts, _: texts).bottom_k(rows, by="digest")
    drawn = [pl.DataFrame(schema={"row_key": pl.String, "text": pl.String})]
    drawn.extend(digests.texts_at(smallest["place"].sort()))
    return pl.concat(drawn)


def write_sample(drawn: pl.DataFrame, folder: Path) -> Sample:
    """Write a sample where the tasks of a comparison find it."""
    folder.mkdir(parents=True, exist_ok=True)
    # By this name a dead run's copies of texts are found and taken away.
    path = folder / "pending-sample.parquet"
    with disk_errors():
        drawn.write_parquet(path)
    return Sample(path, drawn.height)
