"""Some hundred headlines, and a job over them that has something to show: five labels, several chunks, a few failures."""

from pathlib import Path

import polars as pl

LABELS = {
    "business": "companies, markets, money",
    "health": "medicine, hospitals, food",
    "science": "space, research, climate",
    "sport": "matches, teams, players",
    "technology": "software, hardware, internet",
}
BEGINNINGS = (
    "What the new season means for",
    "Five questions about",
    "A quiet year ahead for",
    "Why everybody looks at",
    "The long road to",
    "An old idea returns to",
    "Who pays for",
    "One evening with",
)
SUBJECTS = (
    *("companies in retail", "the bond markets", "money from abroad", "two small companies"),
    *("hospitals at night", "food in schools"),
    *("space telescopes", "climate models", "research at sea"),
    *("football teams", "players on loan", "the last matches of spring", "teams without a coach"),
    *("open software", "internet cables", "hardware at home", "software in cars", "the slow internet"),
)
PLACES = ("the north", "small towns")
ROWS = len(BEGINNINGS) * len(SUBJECTS) * len(PLACES)
ROWS_PER_CHUNK = 36


def write_headlines(folder: Path, rows: int = ROWS) -> None:
    """Write the first so many of the headlines, one Parquet file."""
    titles = [
        f"{beginning} {subject} in {place}"
        for place in PLACES
        for beginning in BEGINNINGS
        for subject in SUBJECTS
    ][:rows]
    pl.DataFrame({"id": range(rows), "title": titles}).write_parquet(folder / "headlines.parquet")


def write_job(folder: Path, name: str, **run: object) -> Path:
    """Write the headlines and a job over them into a folder, and return the job file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_headlines(folder)
    settings = {"rows_per_chunk": ROWS_PER_CHUNK, "max_cost_usd": 0.5, **run}
    rehearsal = folder / "rehearsal.toml"
    rehearsal.write_text(
        """
latency_sigma = 0.5
faults = { rate_limited = 0.02, server_error = 0.03 }
stubborn_faults = { off_label = 0.01, refusal = 0.01, truncated = 0.01 }
"""
    )
    file = folder / f"{name}.toml"
    file.write_text(
        f"""
name = "{name}"

[source]
path = "{folder / "headlines.parquet"}"
text = "title"

[labels]
{_lines({label: f'"{meaning}"' for label, meaning in LABELS.items()})}

[model]
provider = "practice"
name = "gpt-4o-mini"

[run]
{_lines(settings)}

[output]
path = "{folder / name}"

[practice]
latency_seconds = 0.2
settings = "{rehearsal}"
"""
    )
    return file


def _lines(fields: dict[str, object]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in fields.items())
