"""Runs jobs in processes that end themselves with SIGKILL at a chosen moment, or are killed; each line on standard input is a run.

A line is JSON: `folder` with the `job.toml` to run, `base_url` of the provider, `environment`, the variables that it has beside
this process's, and `death`: null, or "before" or "after" and
a number, which counts the steps of the batch lane, or with "compaction" as the third those of putting a ledger's parts
together, with "publication" those of merging and publishing. A step is a file of a batch or of the ledger that is put into its place or taken away, or something that the
provider is asked. Answered with the process's id once it is started, and with its exit code once it has ended.

A run is a fork of this process, which has imported everything: that saves seconds for each.
"""

import functools
import gc
import json
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx2
import imports_of_runs  # noqa: F401

from commands.run import exit_code_of
from labelmill.batch import outstanding
from labelmill.check.job import checked_job
from labelmill.dataset import merge
from labelmill.job.file import draft_of_file
from labelmill.pipeline.label import label


def arrange_death(moment, count, what="batches"):
    """Let this process die before or after its `count`-th step."""
    left = [count]

    def make_mortal(owner, name, is_step):
        real = getattr(owner, name)

        @functools.wraps(real)
        def mortal(first, *arguments, **options):
            counts = is_step(first)
            left[0] -= counts
            if counts and left[0] == 0 and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(first, *arguments, **options)
            if counts and left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, mortal)

    if what == "publication":
        make_mortal(
            Path, "replace", lambda path: path.parts[1] == ".writing" or path.name[:3] in {"._m", ".ru"}
        )
        make_mortal(Path, "unlink", lambda path: path.parts[1] in {"labeled", "_manifest.json"})
        make_mortal(merge, "append_columns", lambda _: True)
        return
    if what == "compaction":
        make_mortal(Path, "replace", lambda path: path.parts[1] == "ledger" and ".." in path.name)
        make_mortal(Path, "unlink", lambda path: path.parts[1] == "ledger" and path.suffix == ".parquet")
        return
    make_mortal(Path, "replace", lambda path: path.parts[1] in {"batches", "ledger"})
    make_mortal(Path, "unlink", lambda path: path.parts[1] == "batches" and path.suffix != ".tmp")
    make_mortal(httpx2.Client, "send", lambda _: True)


def run(asked):
    """Label what the folder's job asks for, in the child; its record goes to `stdout.txt`."""
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    for number, name in ((0, os.devnull), (1, "stdout.txt"), (2, "stderr.txt")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    # What a dead process has sent arrives at once on this machine.
    outstanding.UNDER_WAY_SECONDS = 0.2
    if asked["death"]:
        arrange_death(*asked["death"])
    record = label(checked_job(draft_of_file(Path("job.toml")), asked["base_url"]), asked["base_url"])
    print(record.model_dump_json(), flush=True)  # noqa: T201
    return exit_code_of(record)


def serve():
    """Start what is asked for, line by line."""
    gc.freeze()
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if not pid:
            with ExitStack() as stack:
                stack.callback(os._exit, 70)  # whatever breaks, this fork serves nobody
                stack.callback(sys.stderr.flush)
                os._exit(run(json.loads(line)))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
