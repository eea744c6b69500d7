"""What a day costs where nearly everything is known: planning, merging and publishing, beside a Polars copy of the same files.

Every label is in the ledger before the first run, so that what is timed is Labelmill's own work; a new file's 100 texts are
asked of the practice provider, which answers at once. Times are those of a run in this process, without the start of the practice
provider, and without what the first run of a process imports: a small run comes before.
"""

import shutil
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from measure import FailedError, environment, measured
from rows import Row, at_most, parser_of, progress, rounds_of, show

from labelmill.job.model import LabelJob, Practice
from labelmill.pipeline.label import label
from labelmill.providers.practice import PracticeServer
from labelmill.question.task_key import task_key_of
from labelmill.store.compaction import compact
from labelmill.store.ledger import PRACTICE_PREFIX, SCHEMA
from labelmill.store.row_key import row_key

LABELS = ("sport", "money", "tech")
ROWS_IN_A_PART = 100_000
DAYS, SMALL, NEW_FILE, FULL_MERGE, NOTHING_NEW, MEMORY = (
    "a day of 60 files of 20,000 rows",
    "a day of 5,000 files of 2 rows",
    "one new file of 100 rows",
    "full merge, files of 10,000 rows",
    "nothing new, files of 10,000 rows",
    "peak memory of a plan and a full merge",
)
COPY = "Polars copy"
FIRST = "after 10 files"

Found = dict[tuple[str, str], list[float]]


def main() -> None:
    """Measure, and print the rows; with --run-in, do one job that another process measures."""
    parser = parser_of(__doc__)
    parser.add_argument("--run-in", type=Path, help="label what is in this folder, and nothing else")
    options = parser.parse_args()
    if options.run_in:
        label(job_of(options.run_in))
        return
    show(rows_of(options), as_json=options.json)


def rows_of(options: Namespace) -> Iterator[Row]:
    """Each kind of day, in seconds, and the memory that many rows take."""
    found: Found = defaultdict(list)
    with PracticeServer.start(Practice()) as server:
        warm_up(server.base_url)
        for number in range(rounds_of(options)):
            progress(f"days, round {number + 1}")
            days(server.base_url, found)
            small_files(server.base_url, found)
            history(server.base_url, (10, 100, 1000) if options.full else (10, 100), found)
    copied = statistics.median(found[DAYS, COPY])
    goals = {
        (DAYS, "full merge"): at_most(3 * copied + 2),
        (DAYS, "nothing new"): at_most(1),
        (DAYS, NEW_FILE): at_most(2),
        (SMALL, "first run"): at_most(30),
        (NOTHING_NEW, "of 1000"): at_most(3),
        (NEW_FILE, "after 100 files"): at_most(1.2, FIRST),
        (NEW_FILE, "after 1000 files"): at_most(1.2, FIRST),
    }
    for (what, who), values in found.items():
        wanted = (goals[what, who],) if (what, who) in goals else ()
        yield Row(what, who, "s", tuple(values), wanted)
    for rows in (1_000_000, 10_000_000) if options.full else (1_000_000,):
        progress(f"memory of {rows:,} rows")
        yield Row(MEMORY, f"{rows:,} rows", "GB", (peak_of(rows),))


def warm_up(base_url: str) -> None:
    """Have all imported that a run needs."""
    with tempfile.TemporaryDirectory() as name:
        job = job_of(Path(name))
        write_source(Path(name), 1, 1)
        run_seconds(job, base_url)


def days(base_url: str, found: Found) -> None:
    """60 files of 20,000 rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = job_of(folder)
        write_ledger(job, write_source(folder, 60, 20_000))
        found[DAYS, COPY].append(copy_seconds(folder))
        found[DAYS, "full merge"].append(run_seconds(job, base_url))
        found[DAYS, "nothing new"].append(run_seconds(job, base_url))
        before = stamps_of(folder)
        found[DAYS, NEW_FILE].append(new_file_seconds(job, folder, base_url))
        written = sum(before.get(path) != stamp for path, stamp in stamps_of(folder).items())
        if written != 1:
            raise FailedError(f"one new file came, and {written} files were written")


def small_files(base_url: str, found: Found) -> None:
    """5,000 files of 2 rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = job_of(folder)
        write_ledger(job, write_source(folder, 5000, 2))
        found[SMALL, "first run"].append(run_seconds(job, base_url))
        found[SMALL, "nothing new"].append(run_seconds(job, base_url))


def history(base_url: str, sizes: tuple[int, ...], found: Found) -> None:
    """One new file after so many files of 10,000 rows."""
    for files in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = job_of(folder)
            write_ledger(job, write_source(folder, files, 10_000))
            found[FULL_MERGE, f"of {files}"].append(run_seconds(job, base_url))
            found[NOTHING_NEW, f"of {files}"].append(run_seconds(job, base_url))
            # Three days, of which the middle one counts: how its requests fall takes more or less of a second.
            new = sorted(new_file_seconds(job, folder, base_url, day) for day in range(3))[1]
            found[NEW_FILE, f"after {files} files"].append(new)


def peak_of(rows: int) -> float:
    """The peak memory of a first run over so many known rows, in GB, in a process that does nothing else."""
    with tempfile.TemporaryDirectory() as name:
        write_ledger(job_of(Path(name)), write_source(Path(name), rows // 100_000, 100_000))
        return measured([sys.executable, __file__, "--run-in", name], environment()).peak_mb / 1024


def job_of(folder: Path) -> LabelJob:
    """The job over the folder's source."""
    return LabelJob.model_validate(
        {
            "name": "benchmark days",
            "source": {"path": str(folder / "source"), "text": "text"},
            "labels": dict.fromkeys(LABELS, ""),
            "model": {"provider": "practice", "name": "gpt-4o-mini"},
            "run": {"max_concurrency": 32},
            "output": {"path": str(folder / "out")},
        }
    )


def write_source(folder: Path, files: int, rows: int, first: int = 0) -> pl.LazyFrame:
    """Write files of distinct texts; returns all of the texts."""
    source = folder / "source"
    source.mkdir(exist_ok=True)
    for number in range(first, first + files):
        numbers = pl.int_range(number * rows, (number + 1) * rows, eager=True).alias("id")
        frame = numbers.to_frame().with_columns(
            text=pl.format("headline {} of the day: markets and teams", "id"), score=pl.col("id") * 0.5
        )
        frame.write_parquet(source / f"day-{number:05d}.parquet")
    return pl.scan_parquet(source / "*.parquet").select("text")


def write_ledger(job: LabelJob, texts: pl.LazyFrame) -> None:
    """Let the ledger know a label of every text, and have it in as few parts as the runs that asked leave it."""
    ledger = Path(job.output.path) / "ledger" / (PRACTICE_PREFIX + task_key_of(job))
    ledger.mkdir(parents=True)
    told = {
        "label": pl.lit(LABELS[0]),
        "final": pl.lit(value=True),
        "ended": pl.lit(value=True),
        "model": pl.lit("gpt-4o-mini"),
        "run_id": pl.lit("20260101-000000-0000"),
        "requests": pl.lit(1),
        "unseen": pl.lit(0),
        "input_tokens": pl.lit(100),
        "cached_input_tokens": pl.lit(0),
        "output_tokens": pl.lit(2),
        "cost_usd": pl.lit("0.0000162"),
        "unseen_usd": pl.lit("0"),
        "seconds": pl.lit(0.3),
        "answered_at_utc": pl.lit(datetime(2026, 1, 1, tzinfo=UTC)),
        "lane": pl.lit("live"),
        "unpriced": pl.lit(0),
    }
    for number, frame in enumerate(texts.collect().iter_slices(ROWS_IN_A_PART)):
        known = frame.select(row_key=row_key(pl.col("text"))).with_columns(**told)
        part = known.select(
            (pl.col(name) if name in known.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in SCHEMA.items()
        )
        part.write_parquet(ledger / f"20260101-000000-0000-{number:05d}.parquet")
    compact(ledger)


def run_seconds(job: LabelJob, base_url: str) -> float:
    """The seconds of a run."""
    start = time.perf_counter()
    label(job, base_url)
    return time.perf_counter() - start


def new_file_seconds(job: LabelJob, folder: Path, base_url: str, day: int = 0) -> float:
    """The seconds of a run after a file of 100 new texts has come."""
    numbers = pl.int_range(day * 100, day * 100 + 100, eager=True).alias("id").to_frame()
    frame = numbers.with_columns(text=pl.format("a new headline, number {}", "id"), score=pl.lit(0.5))
    frame.write_parquet(folder / "source" / f"day-{99_000 + day}.parquet")
    return run_seconds(job, base_url)


def copy_seconds(folder: Path) -> float:
    """The seconds that Polars takes to read and write the source's files."""
    target = folder / "copy"
    target.mkdir()
    start = time.perf_counter()
    for path in sorted((folder / "source").glob("*.parquet")):
        pl.scan_parquet(path).sink_parquet(target / path.name)
    taken = time.perf_counter() - start
    shutil.rmtree(target)
    return taken


def stamps_of(folder: Path) -> dict[Path, int]:
    """When each labeled file was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "out" / "labeled").rglob("*.parquet")}


if __name__ == "__main__":
    main()
