"""What a day costs where nearly everything is known: planning, merging and publishing, beside a Polars copy of the same files.

Every label is in the ledger before the first run, so that what is timed is Labelmill's own work; a new file's 100 texts are
asked of the practice provider, which answers at once. Times are those of whole runs without Prefect, without the start of the practice
provider, and without what the first run of a process imports: a small run comes before.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from labelmill.job.model import LabelJob, Practice
from labelmill.pipeline.label import label
from labelmill.providers.practice import PracticeServer
from labelmill.question.task_key import task_key_of
from labelmill.store.compaction import compact
from labelmill.store.ledger import PRACTICE_PREFIX, SCHEMA
from labelmill.store.row_key import row_key

LABELS = ("sport", "money", "tech")
ROWS_IN_A_PART = 100_000


def main() -> None:
    """Print the table of one round, or of some; with --memory-of, run one job and print its peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="leave out 10 million rows")
    parser.add_argument("--memory-of", type=int, metavar="ROWS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(peak_of(options.memory_of))
        return
    with PracticeServer.start(Practice()) as server:
        warm_up(server.base_url)
        for number in range(options.rounds):
            print(f"round {number + 1}")
            days(server.base_url)
            small_files(server.base_url)
            history(server.base_url, (10, 100) if options.quick else (10, 100, 1000))
    if not options.quick:
        memory()


def warm_up(base_url: str) -> None:
    """Have all imported that a run needs."""
    with tempfile.TemporaryDirectory() as name:
        job = job_of(Path(name))
        write_source(Path(name), 1, 1)
        run_seconds(job, base_url)


def days(base_url: str) -> None:
    """60 files of 20,000 rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = job_of(folder)
        texts = write_source(folder, 60, 20_000)
        write_ledger(job, texts)
        copied = copy_seconds(folder)
        full = run_seconds(job, base_url)
        nothing = run_seconds(job, base_url)
        before = stamps_of(folder)
        new = new_file_seconds(job, folder, base_url)
        written = sum(before.get(path) != stamp for path, stamp in stamps_of(folder).items())
    row("60 files of 20,000 rows: Polars copy", copied)
    row("  full merge", full, f"at most {3 * copied + 2:.2f}")
    row("  nothing new", nothing, "at most 1")
    row("  one new file of 100 rows", new, f"at most 2 beyond its requests; {written} file written")


def small_files(base_url: str) -> None:
    """5,000 files of 2 rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = job_of(folder)
        texts = write_source(folder, 5000, 2)
        write_ledger(job, texts)
        row("5,000 files of 2 rows: first run beyond its requests", run_seconds(job, base_url), "at most 30")
        row("  nothing new", run_seconds(job, base_url))


def history(base_url: str, sizes: tuple[int, ...]) -> None:
    """One new file after so many files of 10,000 rows."""
    for files in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = job_of(folder)
            texts = write_source(folder, files, 10_000)
            write_ledger(job, texts)
            row(f"{files} files of 10,000 rows: full merge", run_seconds(job, base_url))
            row(
                "  nothing new",
                run_seconds(job, base_url),
                "at most 3 of 1,000 files" if files == 1000 else "",
            )
            # Three days, of which the middle one counts: how its requests fall takes more or less of a second.
            new = sorted(new_file_seconds(job, folder, base_url, day) for day in range(3))[1]
            row("  one new file of 100 rows", new, "within 20% of each other")


def memory() -> None:
    """The peak of a plan and a full merge."""
    peaks = {}
    for rows in (1_000_000, 10_000_000):
        words = [sys.executable, __file__, "--memory-of", str(rows)]
        peaks[rows] = float(subprocess.run(words, capture_output=True, check=True, text=True).stdout)
    for rows, peak in peaks.items():
        print(f"{rows:>12,} rows: peak memory {peak:.2f} GB")


def peak_of(rows: int) -> float:
    """The peak memory of a first run over so many known rows, in GB, in a process that does nothing else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = job_of(folder)
        subprocess.run(
            [sys.executable, "-c", _PREPARE.format(folder=name, rows=rows)],
            check=True,
            cwd=Path(__file__).parent,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [str(Path(__file__).parent.parent), str(Path(__file__).parent)]
                ),
            },
        )
        label(job)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


_PREPARE = """
from pathlib import Path
from bench_days import job_of, write_ledger, write_source
folder = Path({folder!r})
write_ledger(job_of(folder), write_source(folder, {rows} // 100_000, 100_000))
"""


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
    """The seconds of a whole run."""
    start = time.perf_counter()
    label(job, base_url)
    return time.perf_counter() - start


def new_file_seconds(job: LabelJob, folder: Path, base_url: str, day: int = 0) -> float:
    """The flow's seconds after a file of 100 new texts has come."""
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


def row(words: str, seconds: float, goal: str = "") -> None:
    """Print a line of the table."""
    print(f"{words:<56} {seconds:8.2f} s   {goal}", flush=True)


if __name__ == "__main__":
    main()
