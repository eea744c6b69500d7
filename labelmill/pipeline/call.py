"""`labelmill.label`: a job as a call from Python, for a frame or for files.

It is the job that a file would tell, by the same check, into the same kind of output folder. No Prefect is needed for it.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, overload

from dotenv import find_dotenv, load_dotenv
from rich.console import Console

from labelmill import garbage_waits
from labelmill.check.frame import frame_mistakes
from labelmill.check.job import checked_job
from labelmill.dataset.frames import Frame, FrameLike, FrameT, UnwritableTextError, frame_of
from labelmill.dataset.source import root_of
from labelmill.dataset.template import read_template
from labelmill.errors import CannotWrite, JobRefused, Mistake, RunInterrupted, RunNotCompleted
from labelmill.job.arguments import CALL, JobArguments, path_told
from labelmill.job.file import draft_of
from labelmill.job.model import Batch, LabelJob, Model, Practice, Price, Prompt, Run
from labelmill.pipeline.label import label as run_job
from labelmill.providers.environment import bypass_proxies
from labelmill.report.progress_view import ending_line, run_shown
from labelmill.run.record import RunRecord
from labelmill.run.runner import Runner
from labelmill.run.signals import draining_interrupts
from labelmill.stop import StopSignal
from labelmill.store.folder import FRAME_FILE, OutputFolder

log = logging.getLogger(__name__)

OUTPUTS = "labelmill-out"
"""The folder, in the one that a program runs in, where a call has its output unless it says otherwise."""
_NOT_IN_A_NAME = re.compile(r"[/%&<>\x00-\x1f]")
_LONGEST_NAME = 100

T = TypeVar("T")
FilesTold: TypeAlias = str | PathLike[str]
LabelsTold: TypeAlias = Mapping[str, str] | Iterable[str]
ModelTold: TypeAlias = str | Mapping[str, Any] | Model


@overload
def label(
    data: FilesTold,
    *,
    text: str,
    labels: LabelsTold,
    model: ModelTold,
    provider: str | None = None,
    instructions: str | None = None,
    max_cost_usd: float | None = None,
    output: FilesTold | None = None,
    name: str | None = None,
    column_prefix: str | None = None,
    prompt: Mapping[str, Any] | Prompt | None = None,
    price: Mapping[str, Any] | Price | None = None,
    run: Mapping[str, Any] | Run | None = None,
    batch: Mapping[str, Any] | Batch | None = None,
    practice: Mapping[str, Any] | Practice | None = None,
    retry_failed: bool = False,
    on_incomplete: Literal["raise", "return"] = "raise",
    return_record: bool = False,
    progress: bool = True,
) -> RunRecord: ...


@overload
def label(
    data: FrameT,
    *,
    text: str,
    labels: LabelsTold,
    model: ModelTold,
    provider: str | None = None,
    instructions: str | None = None,
    max_cost_usd: float | None = None,
    output: FilesTold | None = None,
    name: str | None = None,
    column_prefix: str | None = None,
    prompt: Mapping[str, Any] | Prompt | None = None,
    price: Mapping[str, Any] | Price | None = None,
    run: Mapping[str, Any] | Run | None = None,
    batch: Mapping[str, Any] | Batch | None = None,
    practice: Mapping[str, Any] | Practice | None = None,
    retry_failed: bool = False,
    on_incomplete: Literal["raise", "return"] = "raise",
    return_record: Literal[False] = False,
    progress: bool = True,
) -> FrameT: ...


@overload
def label(
    data: FrameT,
    *,
    text: str,
    labels: LabelsTold,
    model: ModelTold,
    provider: str | None = None,
    instructions: str | None = None,
    max_cost_usd: float | None = None,
    output: FilesTold | None = None,
    name: str | None = None,
    column_prefix: str | None = None,
    prompt: Mapping[str, Any] | Prompt | None = None,
    price: Mapping[str, Any] | Price | None = None,
    run: Mapping[str, Any] | Run | None = None,
    batch: Mapping[str, Any] | Batch | None = None,
    practice: Mapping[str, Any] | Practice | None = None,
    retry_failed: bool = False,
    on_incomplete: Literal["raise", "return"] = "raise",
    return_record: Literal[True],
    progress: bool = True,
) -> tuple[FrameT, RunRecord]: ...


def label(  # noqa: PLR0913  (a job has that much to say)
    data: FilesTold | FrameLike,
    *,
    text: str,
    labels: LabelsTold,
    model: ModelTold,
    provider: str | None = None,
    instructions: str | None = None,
    max_cost_usd: float | None = None,
    output: FilesTold | None = None,
    name: str | None = None,
    column_prefix: str | None = None,
    prompt: Mapping[str, Any] | Prompt | None = None,
    price: Mapping[str, Any] | Price | None = None,
    run: Mapping[str, Any] | Run | None = None,
    batch: Mapping[str, Any] | Batch | None = None,
    practice: Mapping[str, Any] | Practice | None = None,
    retry_failed: bool = False,
    on_incomplete: Literal["raise", "return"] = "raise",
    return_record: bool = False,
    progress: bool = True,
) -> Any:
    r"""Label what is not labeled yet: the rows of a frame, or of Parquet files.

    Every answer is kept in the ledger of the output folder as it arrives. The same call again pays for nothing that is there,
    and a text that several rows or several frames have is asked once.

    Args:
        data: a Polars frame (eager or lazy), a pandas frame, a PyArrow table; or the path of a Parquet file, a glob or a folder.
        text: the column that holds the text, or a template over several: `"{title}\n{body}"`.
        labels: the labels, as a list of names or as a dict of names and what they mean.
        model: the model's name, or all that a job file may say under `[model]`.
        provider: who is asked, such as `"openai"` (as it is unless told), `"anthropic"` or `"practice"`, which needs no key.
        instructions: takes the place of the system message: `prompt.system` of a job file.
        max_cost_usd: the most that this call may cost.
        output: the folder with the ledger, the bill and the report: `labelmill-out/` and the name, or `labelmill-out/frames`.
        name: what the job is called in its report: the file's or the folder's name, or `frame`.
        column_prefix: what the names of the label columns begin with, where the data has a `label` already.
        prompt: what else a job file may say under `[prompt]`.
        price: the same of `[price]`.
        run: the same of `[run]`, such as `{"max_concurrency": 8}` or `{"lane": "batch"}`.
        batch: the same of `[batch]`.
        practice: the same of `[practice]`.
        retry_failed: asks the texts again that failed for good in earlier calls.
        on_incomplete: what becomes of a run that has not completed, because it reached its budget or too many rows failed:
            `"raise"`, or `"return"` what there is.
        return_record: returns a frame together with the record of the run, which has its bill.
        progress: shows how far the run is: in a terminal, in a notebook, else as lines in the log.

    Returns:
        A frame of the same kind, with the same rows in the same order and the label columns behind its own; for a path the
        record of the run, whose labels are in the files at its `labeled_path`.

    Raises:
        JobRefused: the arguments, the data or the provider have mistakes, which it lists; nothing was spent.
        RunNotCompleted: the run has not completed; its `labeled` and its `record` are what there is.
        RunInterrupted: Ctrl-C, once what was in flight is kept; a `KeyboardInterrupt`.
        CannotWrite: a file can't be written; what was paid is kept.
    """
    told = JobArguments()
    sections = {"prompt": prompt, "price": price, "run": run, "batch": batch, "practice": practice}
    for section, values in sections.items():
        told.section(section, values)
    told.labels(labels)
    if isinstance(model, str):
        told.field("model.name", model, "model")
    else:
        told.section("model", model)
    told.field("model.provider", provider, "provider")
    told.field("prompt.system", instructions, "instructions")
    told.field("run.max_cost_usd", max_cost_usd, "max_cost_usd")
    told.field("source.text", text, "text")
    told.field("output.column_prefix", column_prefix, "column_prefix")
    path = path_told(data) if isinstance(data, str | PathLike) else None
    frame = None if path is not None else frame_of(data)
    told.values["name"] = name or ("frame" if path is None else _name_of(path))
    folder = "frames" if path is None and not name else told.values["name"]
    told.field("output.path", path_told(output) or _output_of(folder), "output")
    told.field("source.path", path, "data")
    if path is None and frame is None:
        kind = f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")
        told.mistakes.append(Mistake("data", f"found a value of the type {kind}, expected {Frame.kinds}"))
    if on_incomplete not in {"raise", "return"}:
        told.mistakes.append(
            Mistake("on_incomplete", f"found {on_incomplete!r}, expected 'raise' or 'return'")
        )
    record, labeled = _run(
        told, frame, retry_failed=retry_failed, on_incomplete=on_incomplete, progress=progress
    )
    if path is not None:
        return record
    return (labeled, record) if return_record else labeled


class CallRunner(Runner):
    """Takes the steps of a run that somebody's program has called for, and takes a frame's labels along.

    Args:
        job: the job.
        frame: the frame; None where files are labeled.
        opened: is called once the run is open.
    """

    def __init__(self, job: LabelJob, frame: Frame | None, opened: Callable[[], None]) -> None:
        super().__init__(job)
        self._frame = frame
        self._opened = opened
        self.labeled: Any = None
        """The frame with its labels, once they are published; None where there are none."""
        self.interrupted = False
        """Whether Ctrl-C has been heard."""

    def step(self, kind: str, do: Callable[[], T], name: str | None = None, *, asks: bool = False) -> T:
        """Take one step. What a run has published is read as long as no other run can write there."""
        done = super().step(kind, do, name, asks=asks)
        if self._frame is not None and isinstance(done, RunRecord) and done.is_published:
            labeled = Path(done.labeled_path) / FRAME_FILE
            if labeled.exists() and not done.unreadable_files:
                template, prefix = read_template(self.job.source.text), self.job.output.column_prefix
                self.labeled = self._frame.labeled(self._frame.read(labeled, template, prefix))
        return done

    def draining(self, stop_signal: StopSignal) -> AbstractContextManager[None]:
        """Let Ctrl-C drain the run, which has been opened."""
        self._opened()
        return draining_interrupts(stop_signal, self._interrupt)

    def _interrupt(self, sentence: str) -> None:
        self.interrupted = True
        log.warning("%s", sentence)


def _run(
    told: JobArguments,
    frame: Frame | None,
    *,
    retry_failed: bool,
    on_incomplete: Literal["raise", "return"],
    progress: bool,
) -> tuple[RunRecord, Any]:
    """Run a job, and return its record, and the frame with its labels where there is one."""
    load_dotenv(find_dotenv(usecwd=True))
    bypass_proxies()
    known: dict[str, str] = {}
    with ExitStack() as stack:
        # Opening a run imports the provider's client.
        opening = stack.enter_context(ExitStack())
        opening.enter_context(garbage_waits())
        if "path" in told.values["source"]:
            if mistakes := _mistakes_of(told):
                raise JobRefused(mistakes)
            job = LabelJob.model_validate(told.values)
        else:
            job = stack.enter_context(_with_texts(told, frame, known))
        shown = stack.enter_context(run_shown(Console(stderr=True, highlight=False))) if progress else None
        runner = CallRunner(job, frame, opening.close)
        try:
            record = run_job(job, retry_failed=retry_failed, runner=runner)
        except JobRefused as refused:
            raise told.refusal(refused, known) from None
        if shown is not None:
            shown(record)
    if runner.interrupted:
        raise RunInterrupted(record, runner.labeled)
    has_labels = frame is None or runner.labeled is not None
    if record.status != "completed" or not has_labels:
        sentence = _incomplete_words(record, known)
        if on_incomplete == "raise" or not has_labels:
            if has_labels:
                what = "record" if frame is None else "labeled"
                sentence += (
                    f' The error has what there is as its `{what}`; on_incomplete="return" returns that.'
                )
            raise RunNotCompleted(record, sentence, runner.labeled)
        log.warning("%s", sentence)
    return record, runner.labeled


@contextmanager
def _with_texts(told: JobArguments, frame: Frame | None, known: dict[str, str]) -> Iterator[LabelJob]:
    """Write the texts of a frame, once nothing is found that would keep them from being asked; yields the job over them.

    Args:
        told: what the call says.
        frame: the frame; None where something else was given.
        known: takes what the file stands for in sentences.

    Raises:
        JobRefused: with every mistake that was found.
        CannotWrite: the file can't be written.
    """
    output, source = told.values["output"], told.values["source"]
    if frame is not None:
        told.mistakes += frame_mistakes(frame, source.get("text"), output.get("column_prefix"))
    folder = OutputFolder(Path(output["path"] if isinstance(output["path"], str) else OUTPUTS))
    # Not written yet: that there is no such file is no mistake.
    source["path"] = str(folder.frame_file("texts"))
    mistakes = [mistake for mistake in _mistakes_of(told) if mistake.where != "source.path"]
    if mistakes or frame is None:
        raise JobRefused(mistakes)
    with folder.frame_texts() as texts:
        source["path"] = str(texts)
        known |= dict.fromkeys([repr(str(texts.absolute())), repr(str(texts))], "the frame")
        columns = dict.fromkeys(read_template(source["text"]).columns)
        try:
            frame.write(list(columns), texts)
        except UnwritableTextError as error:
            raise JobRefused([Mistake("text", str(error))]) from None
        except OSError as error:
            raise CannotWrite.because(error, folder.place) from None
        yield LabelJob.model_validate(told.values)


def _mistakes_of(told: JobArguments) -> list[Mistake]:
    """All that is wrong with what a call says, each at its argument."""
    try:
        checked_job(draft_of(told.values, CALL))
    except JobRefused as refused:
        said = {mistake.where for mistake in told.mistakes}
        found = told.refusal(refused).mistakes
        return [*told.mistakes, *(mistake for mistake in found if mistake.where not in said)]
    return told.mistakes


def _incomplete_words(record: RunRecord, known: Mapping[str, str]) -> str:
    """How a run ended that has not completed, and what can be done."""
    message = (record.message or "").rstrip(".")
    for told, name in known.items():
        message = message.replace(told, name)
    again = (
        "retry_failed=True asks those that failed again"
        if record.status == "too_many_failures"
        else "the same call goes on from there"
    )
    return f"{ending_line(record)}: {message}. What was paid is kept, and {again}."


def _name_of(path: Any) -> str:
    """What a job over some files is called unless it is told."""
    try:
        place = root_of(path) if not Path(path).is_file() else Path(path)
        name = place.resolve().name.removesuffix(".parquet")
    except (OSError, ValueError):
        name = ""
    return _NOT_IN_A_NAME.sub("-", name)[:_LONGEST_NAME] or "files"


def _output_of(name: object) -> str:
    """Where the output is unless it is told."""
    folder = str(name)
    return f"{OUTPUTS}/{folder if folder.strip('.') else 'output'}"
