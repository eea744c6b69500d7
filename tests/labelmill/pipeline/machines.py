"""Machines for tests: each order is taken by a process that knows nothing but the order, and that can be killed or stopped."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from labelmill.job.model import LabelJob
from labelmill.pipeline.label import label
from labelmill.run import orders
from labelmill.run.runner import Runner


class MachineRunner(Runner):
    """A runner whose chunks are classified by processes of their own.

    Args:
        job: the job.
        folder: where orders are written.
        harm: is told of each process that has begun, and of its number.
        has_own_disk: whether each process has a cache of its own, as on another machine.
    """

    def __init__(self, job, folder, harm=lambda _process, _number: None, *, has_own_disk=False):
        super().__init__(job)
        self.has_own_disk = has_own_disk
        self.folder, self.harm = folder, harm
        self.processes, self.orders, self._lock = [], [], threading.Lock()

    @contextmanager
    def machines(self):
        """Orders go to processes; all of them have ended when the block does."""
        try:
            yield self.submit
        finally:
            for process in self.processes:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()

    def submit(self, order):
        """Have a process take an order."""
        with self._lock:
            number = len(self.processes)
            path = self.folder / f"order-{number}.json"
            path.write_text(order.to_json())
            process = subprocess.Popen(
                [sys.executable, "-m", "labelmill.run.machine", str(path)],
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
                | ({"XDG_CACHE_HOME": str(self.folder / f"disk-{number}")} if self.has_own_disk else {}),
                stderr=subprocess.DEVNULL,
            )
            self.processes.append(process)
            self.orders.append(order)
        done = Future()

        def wait():
            done.set_result(process.wait())

        threading.Thread(target=wait, daemon=True).start()
        self.harm(process, number)
        return done


def main():
    """Run a job with its chunks on machines, whose orders are written beside it: `machines.py JOB.json BASE_URL TTL`."""
    job_file = Path(sys.argv[1])
    job = LabelJob.model_validate_json(job_file.read_text())
    orders.TTL_SECONDS = float(sys.argv[3])
    label(job, sys.argv[2], runner=MachineRunner(job, job_file.parent))


def begun(order, out):
    """Whether a worker has begun an order."""
    return (out / f"runs/{order.run_id}/chunks/{order.lease_id}.attempt").exists()


def sent_by(order, out):
    """How many lines the journal of an order's worker has."""
    for path in out.glob(f"ledger/*/{order.run_id}-{order.chunk.number:05d}.jsonl"):
        return path.read_bytes().count(b"\n")
    return 0


def killed_at_random(seed, most):
    """Harm that kills so many processes, each a random while after it has begun to send."""
    moments, left = random.Random(seed), [most]

    def harm(process, _number):
        def kill():
            time.sleep(moments.uniform(1.0, 4.0))
            if left[0] > 0 and process.poll() is None:
                left[0] -= 1
                process.kill()

        threading.Thread(target=kill, daemon=True).start()

    harm.left = left
    return harm


if __name__ == "__main__":
    main()
