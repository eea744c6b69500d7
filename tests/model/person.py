"""Somebody with a Parquet file, a server of their own and the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
from llm_server import MODEL

LABELMILL = Path(sys.executable).parent / "labelmill"
RUN_SECONDS = 600
HEADLINES = {
    "sport": (
        "Late goal sends the home side into the cup final",
        "Tennis champion withdraws with a knee injury",
        "Striker signs for three more seasons with the club",
        "Marathon record falls on a cold morning",
        "Coach dismissed after the fifth defeat in a row",
        "Olympic swimmers train at altitude before the games",
        "The referee explains the penalty in the last minute",
        "Young goalkeeper saves two penalties in the derby",
        "Cyclist wins the mountain stage alone",
        "Basketball team ends a losing streak of nine matches",
    ),
    "business": (
        "Central bank leaves interest rates unchanged",
        "Shares of the airline fall after a profit warning",
        "Two supermarket chains agree on a merger",
        "Exports rise for the third month in a row",
        "Startup raises forty million from investors",
        "Car maker closes a factory and cuts two thousand jobs",
        "Oil prices climb as stocks shrink",
        "Bank reports a quarterly loss on bad loans",
        "Inflation slows to its lowest rate in two years",
        "The retailer plans an offering on the stock market",
    ),
    "technology": (
        "New phone folds twice and costs less than its rival",
        "Bug in a popular browser exposes passwords",
        "Chip maker shows a processor for laptops",
        "Update of the operating system drains batteries",
        "Programmers publish a faster compiler as open source",
        "Cloud provider suffers an outage of four hours",
        "Robot vacuum learns to climb stairs",
        "Researchers train a smaller language model on old hardware",
        "Hackers publish the data of a games studio",
        "Electric bikes get a software lock against theft",
    ),
}
"""Headlines by their right label."""


class Person:
    """Somebody with a job file and the command; `records` has what their runs left, the oldest first."""

    def __init__(self, folder, base_url, prefect_api):
        self.folder, self._base_url, self._api = folder, base_url, prefect_api
        rows = [(text, label) for label, texts in HEADLINES.items() for text in texts]
        pl.DataFrame(rows, schema=["text", "right"], orient="row").write_parquet(folder / "headlines.parquet")

    def writes(self, **model):
        """Write the job, as somebody does who has such a server."""
        settings = "\n".join(f"{name} = {json.dumps(value)}" for name, value in model.items())
        labels = "\n".join(f'{label} = ""' for label in HEADLINES)
        (self.folder / "job.toml").write_text(
            f"""
name = "headlines"
[source]
path = "headlines.parquet"
text = "text"
[labels]
{labels}
[model]
name = "{MODEL}"
base_url = "{self._base_url}"
{settings}
[price]
input_usd_per_mtok = 0
output_usd_per_mtok = 0
[run]
max_concurrency = 4
[output]
path = "out"
"""
        )

    def starts(self):
        """Start a run."""
        return subprocess.Popen(
            [LABELMILL, "run", "job.toml", "--json"],
            cwd=self.folder,
            env={**os.environ, "PREFECT_API_URL": self._api},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runs(self):
        """Run the job to its end, and return the record that it prints."""
        printed, said = (running := self.starts()).communicate(timeout=RUN_SECONDS)
        assert running.returncode == 0, said
        return json.loads(printed)

    @property
    def records(self):
        """What the runs have recorded."""
        return [json.loads(file.read_text()) for file in sorted(self.folder.glob("out/runs/*/run.json"))]

    @property
    def rows(self):
        """The labeled rows."""
        return pl.read_parquet(self.folder / "out" / "labeled" / "headlines.parquet")
