"""`labelmill`: the command line's entry."""

import io
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from labelmill import __version__, garbage_waits

ROWS_HELP = "Ask so many different texts at most, the first that have no label yet; the rest stays pending."

app = typer.Typer(
    name="labelmill",
    help="Label Parquet datasets with a language model, and see the bill.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Typer's own pages show a flag as one that takes a <bool>.
    rich_markup_mode=None,
)


def _version(value: bool) -> None:  # noqa: FBT001  (Typer's callback shape)
    if value:
        typer.echo(f"labelmill {__version__}")
        raise typer.Exit


@app.callback()
def labelmill(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Label Parquet datasets with a language model, and see the bill."""


@app.command(context_settings={"allow_extra_args": True})
def init(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A Parquet file, a folder, or a glob in quotes.", show_default=False
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="The labels, with commas between them; asked for in a terminal.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="The text: a column, or a template over several.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The job file to write; FILE's name unless given.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a job for a Parquet file."""
    from commands.init import init_job  # noqa: PLC0415

    # Several are a glob that the shell has spelled out, which is said.
    raise typer.Exit(init_job([str(file), *context.args], labels=labels, text=text, output=output))


@app.command()
def check(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="The job file (TOML).", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found to standard output.")] = False,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0, help="The most a run may cost, in USD.", show_default=False),
    ] = None,
    model_base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where a run's requests are to go.", show_default=False)
    ] = None,
    check_files: Annotated[
        bool, typer.Option("--check-files", help="Read all columns of all files as well.")
    ] = False,
) -> None:
    """Check a job for nothing. It says what a run would ask and cost; nothing is spent or written."""
    from commands.check import check_job_file  # noqa: PLC0415

    raise typer.Exit(
        check_job_file(
            job,
            max_cost_usd=max_cost_usd,
            model_base_url=model_base_url,
            check_files=check_files,
            as_json=as_json,
        )
    )


@app.command()
def preview(  # noqa: PLR0913, PLR0917  (an option each)
    job: Annotated[Path, typer.Argument(metavar="JOB", help="The job file (TOML).", show_default=False)],
    rows: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="How many distinct texts to show; 0 shows the prompt alone."),
    ] = 20,
    prompt_only: Annotated[
        bool, typer.Option("--prompt-only", help="Show the prompt, and ask nothing.")
    ] = False,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0, help="The most it may cost, in USD.", show_default=False),
    ] = None,
    model_base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send the requests to another address.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before money is spent.")] = False,
) -> None:
    """Show the prompt and a few labels. The prompt stands as it is sent; a run doesn't ask for these labels again."""
    from commands.preview import preview_job  # noqa: PLC0415

    raise typer.Exit(
        preview_job(
            job,
            rows=rows,
            prompt_only=prompt_only,
            max_cost_usd=max_cost_usd,
            model_base_url=model_base_url,
            yes=yes,
        )
    )


@app.command()
def run(  # noqa: PLR0913, PLR0917  (an option each)
    job: Annotated[Path, typer.Argument(metavar="JOB", help="The job file (TOML).", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print run.json to standard output.")] = False,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0, help="The most this run may cost, in USD.", show_default=False),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again the texts that failed for good.")
    ] = False,
    rows: Annotated[int | None, typer.Option(metavar="N", min=1, help=ROWS_HELP, show_default=False)] = None,
    model_base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send this run's requests to another address.", show_default=False),
    ] = None,
    check_files: Annotated[
        bool,
        typer.Option(
            "--check-files", help="Read all columns of all files first, and ask nothing if one can't be read."
        ),
    ] = False,
) -> None:
    """Label what is not labeled yet. Running it again is safe and, with nothing new, free."""
    _say(f"Reading {job} ...")
    with garbage_waits():
        from commands.run import run_job  # noqa: PLC0415  (the help should not wait for Polars and LangChain)

    raise typer.Exit(
        run_job(
            job,
            max_cost_usd=max_cost_usd,
            model_base_url=model_base_url,
            retry_failed=retry_failed,
            rows=rows,
            check_files=check_files,
            as_json=as_json,
        )
    )


@app.command()
def compare(  # noqa: PLR0913, PLR0917  (an option each)
    job: Annotated[Path, typer.Argument(metavar="JOB", help="The job file (TOML).", show_default=False)],
    rows: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many distinct texts to ask by each strategy.")
    ] = 100,
    concurrency: Annotated[
        str, typer.Option(metavar="N,N,...", help="The numbers of requests at once to try chain.batch with.")
    ] = "1,2,5",
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers to standard output.")] = False,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0, help="The most it may cost in all, in USD.", show_default=False),
    ] = None,
    model_base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send the requests to another address.", show_default=False),
    ] = None,
    batch_wait_minutes: Annotated[
        float,
        typer.Option(
            metavar="MINUTES", min=0, help="How long to wait for the Batch API; 0 leaves the batch lane out."
        ),
    ] = 10.0,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before money is spent.")] = False,
) -> None:
    """Compare ways to ask: time, cost, agreement. The same texts are asked one by one, in batches and as a run does."""
    _say(f"Reading {job} ...")
    with garbage_waits():
        from commands.compare import compare_job  # noqa: PLC0415

    raise typer.Exit(
        compare_job(
            job,
            rows=rows,
            concurrency=concurrency,
            max_cost_usd=max_cost_usd,
            model_base_url=model_base_url,
            batch_wait_minutes=batch_wait_minutes,
            yes=yes,
            as_json=as_json,
        )
    )


@app.command()
def costs(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="The job file (TOML).", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers to standard output.")] = False,
    reprice: Annotated[
        bool, typer.Option("--reprice", help="Count past tokens again at today's prices.")
    ] = False,
) -> None:
    """Show what past runs cost. By run, day and month; no provider is asked, and nothing is changed."""
    from commands.costs import show_costs  # noqa: PLC0415

    raise typer.Exit(show_costs(job, as_json=as_json, repriced=reprice))


@app.command()
def deploy(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="The job file (TOML).", show_default=False)],
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="CRON",
            help='When it runs: minute, hour, day of month, month, day of week, as in "0 6 * * *". Without it a schedule '
            "that is there stays.",
            show_default=False,
        ),
    ] = None,
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="The time zone of --cron, such as Asia/Shanghai.")
    ] = "UTC",
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The deployment's name; the job's name by default.", show_default=False
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="POOL",
            help="The work pool whose worker runs it; labelmill by default.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a job on a schedule. It runs on the server of PREFECT_API_URL, or else of `labelmill up`."""
    from commands.deploy import deploy_job  # noqa: PLC0415

    raise typer.Exit(deploy_job(job, cron=cron, timezone=timezone, name=name, pool=pool))


# A path, since Typer's help names the type of whatever is text.
DEPLOYED = typer.Argument(
    metavar="NAME", help="What is deployed: its name, or its job file.", show_default=False
)


@app.command()
def start(
    name: Annotated[Path, DEPLOYED],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run is over.")] = False,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0, help="The most this run may cost, in USD.", show_default=False),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again the texts that failed for good.")
    ] = False,
    rows: Annotated[int | None, typer.Option(metavar="N", min=1, help=ROWS_HELP, show_default=False)] = None,
) -> None:
    """Start a deployed job now. Its schedule stays as it is."""
    from commands.deployed import start_run  # noqa: PLC0415

    given = {"max_cost_usd": max_cost_usd, "retry_failed": retry_failed or None, "rows": rows}
    parameters = {name: value for name, value in given.items() if value is not None}
    raise typer.Exit(start_run(str(name), parameters, wait=wait))


@app.command()
def status(
    name: Annotated[
        Path | None,
        typer.Argument(
            metavar="NAME",
            help="What is deployed: its name, or its job file; all unless given.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="How many runs to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show a deployed job's last runs and its next."""
    from commands.deployed import show_status  # noqa: PLC0415

    raise typer.Exit(show_status(None if name is None else str(name), runs=runs, as_json=as_json))


@app.command()
def logs(
    name: Annotated[Path, DEPLOYED],
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Which run, by its name or its id; the last by default.", show_default=False
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run is over.")] = False,
) -> None:
    """Print the log of a deployed job's last run."""
    from commands.deployed import show_logs  # noqa: PLC0415

    raise typer.Exit(show_logs(str(name), run=run, follow=follow))


@app.command()
def up() -> None:
    """Start what a daily job needs here. That is Prefect's server, its UI and a worker, on this machine."""
    from commands.up import bring_up  # noqa: PLC0415

    raise typer.Exit(bring_up())


@app.command()
def down() -> None:
    """Stop what `labelmill up` started."""
    from commands.up import take_down  # noqa: PLC0415

    raise typer.Exit(take_down())


@app.command()
def demo() -> None:
    """Label a sample: no key, no cost. The practice provider answers."""
    _say("Labeling the sample ...")
    with garbage_waits():
        from commands.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(run_demo())


def _say(words: str) -> None:
    """Say what goes on before the seconds that it takes to import the rest; what can't be seen becomes a space."""
    line = "".join(letter if letter.isprintable() else " " for letter in words)
    typer.echo(line, err=True)


def main() -> None:
    """Run the command line. What nobody foresaw ends it in a traceback, and nothing in that gives the terminal orders."""
    _outlive_encoding()
    try:
        app()
    except Exception:  # noqa: BLE001  (the last place where it can be shown)
        from labelmill.report.log_lines import visible_lines  # noqa: PLC0415

        sys.stderr.write(visible_lines(traceback.format_exc()))
        sys.exit(1)


def _outlive_encoding() -> None:
    """Let both outputs spell out what their encoding lacks: `PYTHONIOENCODING=ascii` must not end a run that is paid."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
