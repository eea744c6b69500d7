"""The source: which Parquet files a job labels, and their rows' texts."""

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from labelmill.dataset.template import TextTemplate, text_of
from labelmill.store.row_key import text_digest

_WILDCARD = re.compile(r"[*?\[]")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_PARTITION = re.compile(r"^([^=/]+)=(.*)$")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class SourceFile:
    """One Parquet file of the source: where it is, and where it belongs in `labeled/`."""

    path: Path
    relative: Path

    @property
    def partitions(self) -> dict[str, str | None]:
        """Hive partition values from the file's folders, as text: `date=2026-11-01/` gives `{"date": "2026-11-01"}`."""
        found = (_PARTITION.match(part) for part in self.relative.parent.parts)
        return {
            unquote(match[1]): None if match[2] == _NULL_PARTITION else unquote(match[2])
            for match in found
            if match
        }

    def scan(self) -> pl.LazyFrame:
        """The file's own rows and columns, in order."""
        return pl.scan_parquet(self.path, hive_partitioning=False, glob=False)

    def schema(self) -> pl.Schema:
        """The file's own columns.

        Raises:
            polars.exceptions.PolarsError: it is not Parquet, or truncated.
        """
        return self.scan().collect_schema()

    def scan_with_partitions(self) -> pl.LazyFrame:
        """The file's rows and columns, then its partition values as String columns; the file's own columns win."""
        own = self.schema()
        return self.scan().with_columns(
            pl.lit(value, dtype=pl.String).alias(name)
            for name, value in self.partitions.items()
            if name not in own
        )

    def scan_texts(self, template: TextTemplate) -> pl.LazyFrame:
        """One row per row of the file, in order: its `text` (null where there is none) and its `digest` (UInt128)."""
        texts = self.scan_with_partitions().select(text=text_of(template))
        return texts.with_columns(digest=text_digest(pl.col("text")))

    def count(self) -> int:
        """How many rows the file has, from its footer."""
        return int(self.scan().select(pl.len()).collect().item())


def is_url(path: str) -> bool:
    """Whether a path is a URL, such as `s3://bucket/key`."""
    return bool(_URL.match(path))


def root_of(path: str) -> Path:
    """The folder that a source's relative names start from: a folder itself, a file's or a glob's fixed part."""
    if _WILDCARD.search(path) and not Path(path).exists():
        parts = Path(path).parts
        first = next(index for index, part in enumerate(parts) if _WILDCARD.search(part))
        return Path(*parts[:first])
    return Path(path) if Path(path).is_dir() else Path(path).parent


def source_files(path: str) -> list[SourceFile]:
    """The files that a path names, sorted by name; an empty list where nothing matches.

    A folder means every `*.parquet` below it. Hidden files and folders, and those whose name begins with `_`, are left
    out unless a glob names them.
    """
    root = root_of(path)
    if Path(path).is_file():
        found = [Path(path)]
    elif Path(path).is_dir():
        found = [file for file in root.rglob("*.parquet") if not _is_hidden(file.relative_to(root))]
    else:
        found = [Path(match) for match in glob.glob(path, recursive=True)]  # noqa: PTH207  (Path.glob refuses absolute)
        if not _is_hidden(Path(path).relative_to(root)):
            found = [file for file in found if not _is_hidden(file.relative_to(root))]
    # A glob with several ** finds a file more than once.
    return sorted(
        {SourceFile(file, file.relative_to(root)) for file in found if file.is_file()},
        key=lambda f: f.relative,
    )


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith((".", "_")) for part in relative.parts)
