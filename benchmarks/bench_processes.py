"""What several processes of one run are worth: texts a second and CPU per text, one process beside several.

The provider answers after half a second and costs next to nothing; a thousand requests are in flight. Each figure is a run
over many texts less one over few, so that starting costs nothing; what a worker costs to start, and what memory all take
together, stand beside it.
"""

import argparse
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench_requests import job_of
from cheap_provider import cheap_provider

LATENCY_MILLISECONDS = 500
SAMPLE_SECONDS = 0.1


def label_in_this_process(base_url: str, count: int, in_flight: int, processes: int) -> None:
    """A whole run of Labelmill's core, in however many processes."""
    from labelmill.check.job import checked_job
    from labelmill.job.file import draft_of
    from labelmill.pipeline.label import label

    with tempfile.TemporaryDirectory() as folder:
        job = job_of(Path(folder), base_url, count)
        job["run"] = {"max_concurrency": in_flight, "processes": processes}
        record = label(checked_job(draft_of(job, "benchmark")))
        if record.rows_labeled != count:
            sys.exit("not every text was labeled")


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
    return found


def _megabytes(pid: int) -> float:
    """The memory of a process, shared pages by their part; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measured(base_url: str, count: int, in_flight: int, processes: int) -> tuple[float, float, float]:
    """Seconds, CPU seconds and the most megabytes of a run in processes of its own."""
    command = [sys.executable, __file__, "--label", base_url, str(count), str(in_flight), str(processes)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(command) as child:
        over, most = threading.Event(), [0.0]

        def look() -> None:
            while not over.wait(SAMPLE_SECONDS):
                most.append(sum(map(_megabytes, _tree(child.pid))))

        looking = threading.Thread(target=look)
        looking.start()
        code = child.wait()
        seconds = time.perf_counter() - began
        over.set()
        looking.join()
    if code:
        sys.exit("the run failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, max(most)


def start_of_a_worker() -> tuple[float, float]:
    """Seconds and CPU seconds from starting a worker until it listens; it is told nothing, and ends."""
    ours, its = socket.socketpair()
    with ours, its:
        ours.shutdown(socket.SHUT_WR)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "labelmill.run.worker", str(its.fileno())]
        subprocess.run(command, pass_fds=[its.fileno()], check=True)
        seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure side by side, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=24_000)
    parser.add_argument("--few", type=int, default=6_000)
    parser.add_argument("--in-flight", type=int, default=1000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--label", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.label:
        base_url, *numbers = asked.label
        label_in_this_process(base_url, *map(int, numbers))
        return
    starts = [start_of_a_worker() for _ in range(asked.rounds)]
    seconds, cpu = (statistics.median(values) for values in zip(*starts, strict=True))
    print(f"a worker's start: {seconds:.2f} s, {cpu:.2f} s of CPU")
    rates: dict[int, list[float]] = {number: [] for number in asked.processes}
    with cheap_provider(LATENCY_MILLISECONDS) as base_url:
        for _ in range(asked.rounds):
            for number in asked.processes:
                few = measured(base_url, asked.few, asked.in_flight, number)
                many = measured(base_url, asked.texts, asked.in_flight, number)
                texts = asked.texts - asked.few
                rate, each = texts / (many[0] - few[0]), (many[1] - few[1]) / texts * 1000
                rates[number].append(rate)
                print(
                    f"{number} processes: {rate:,.0f} texts/s, {each:.2f} ms of CPU a text, {many[2]:.0f} MB in all",
                    flush=True,
                )
    first, *others = asked.processes
    for number in others:
        ratios = [one / other for one, other in zip(rates[number], rates[first], strict=True)]
        told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{number} beside {first}: {statistics.median(ratios):.2f} times the texts a second ({told})")


if __name__ == "__main__":
    main()
