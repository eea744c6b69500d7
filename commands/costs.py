"""`labelmill costs`: what past runs cost."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from dotenv import find_dotenv, load_dotenv

from commands.invocation import command
from commands.run import EXIT_OTHER, refuse
from commands.terminal import console as stderr
from commands.terminal import output, print_json, shown
from labelmill.errors import JobRefused, Mistake
from labelmill.job.file import draft_of_file
from labelmill.job.model import LabelJob
from labelmill.providers.table import address_of
from labelmill.report.history import PRACTICE_NOTE, HistoryView
from labelmill.run.history import RunFacts, batches_out, history_of, read_runs, read_work, scan_history
from labelmill.run.repricing import TodaysPrices, reprice
from labelmill.run.wording import keys_in_all_wordings
from labelmill.store.folder import OutputFolder
from labelmill.store.ledger import PRACTICE_PREFIX, faults_named, read_again


def show_costs(path: Path, *, as_json: bool, repriced: bool) -> int:
    """Print what the runs of a job file cost; returns the exit code. Nothing is written, and no provider is asked."""
    load_dotenv(find_dotenv(usecwd=True))
    try:
        job = _job_of(path)
        history = costs_of(job, str(path), repriced=repriced)
    except JobRefused as refused:
        return refuse(refused)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        stderr.print(f"[bold red]error[/] the ledger can't be read: {shown(reason)}", soft_wrap=True)
        return EXIT_OTHER
    if as_json:
        print_json(json.dumps(history, indent=2, ensure_ascii=False))
        return 0
    where = output()
    if history["paid"]:
        where.print(HistoryView(f"{job.name}: paid work", history["paid"]))
    if history["practice"]:
        where.print(HistoryView(f"{job.name}: practice ({PRACTICE_NOTE})", history["practice"]))
    return 0


def costs_of(job: LabelJob, where: str, *, repriced: bool = False) -> dict[str, Any]:
    """The history of a job's output: `paid` and `practice`, each None where there is none of it.

    Raises:
        JobRefused: there are no runs in it, or a part of its ledger can't be read.
    """
    folder = OutputFolder.of(job)
    folder.refresh()
    runs = read_runs(folder)
    work = read_again(partial(_work_of, job, folder, runs, repriced=repriced))
    history: dict[str, Any] = {
        "job": job.name,
        "output": folder.place,
        "repriced": repriced,
        "paid": history_of(work, runs, practice=False),
        "practice": history_of(work, runs, practice=True),
    }
    for kind in ("paid", "practice"):
        if history[kind]:
            history[kind]["out"] = batches_out(folder, practice=kind != "paid")
    if not (history["paid"] or history["practice"]):
        sentence = f"there are no runs in {folder.place!r} yet; `{command('run', where)}` makes the first"
        raise JobRefused([Mistake(f"{where}, output.path", sentence)])
    return history


def _work_of(job: LabelJob, folder: OutputFolder, runs: list[RunFacts], *, repriced: bool) -> pl.DataFrame:
    rows = scan_history(folder.ledgers, job.run)
    with faults_named(folder.ledgers):
        work = read_work(rows)
    if not repriced:
        return work
    keys = [prefix + key for key in keys_in_all_wordings(job) for prefix in ("", PRACTICE_PREFIX)]
    prices = TodaysPrices(job, keys, runs, address_of(job.model))
    return reprice(read_work(rows, by_tokens=True) if prices.need_texts(work) else work, prices)


def _job_of(path: Path) -> LabelJob:
    draft = draft_of_file(path)
    if draft.job is None or draft.mistakes:
        raise JobRefused(list(draft.mistakes))
    return draft.job
