"""Strategies on real HTTP, one at a time, so that the provider can be asked what each of them did."""

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from labelmill.compare.estimate import estimate_of
from labelmill.compare.record import comparison_of
from labelmill.compare.sample import draw_sample, write_sample
from labelmill.compare.strategies import ask_with, strategies_of
from labelmill.run.open_run import open_output
from practice import PracticeSettings

TEXTS = [f"the {word} of day {number}" for number in range(20) for word in ("match", "market")]


@pytest.fixture
def practice(practice):
    """The session's practice provider as if just started, and left as it was found."""
    practice.configure(PracticeSettings())
    practice.reset()
    yield practice
    practice.configure(PracticeSettings())


@pytest.fixture
def opened(write_texts):
    """In a `with`, have a job's output open at an address, with a sample of its source: `opened(job, base_url)`."""

    @contextmanager
    def open_sample(job, base_url, rows=1000, texts=TEXTS):
        write_texts(texts)
        with open_output(job, base_url) as context:
            drawn = draw_sample(context.digests, rows)
            yield context, write_sample(drawn, context.record_folder)

    return open_sample


@pytest.fixture
def compare(opened):
    """Ask a sample by every strategy and return the record: `compare(job, base_url, [2, 5])`."""

    def ask_all(job, base_url, levels=(2,), before=None, **sample):
        strategies = strategies_of(job, levels)
        with opened(job, base_url, **sample) as (context, texts):
            estimate = estimate_of(job, [q.text for q in texts.questions()], strategies, context.price)
            receipts = []
            for strategy in strategies:
                if before:
                    before(strategy)
                receipts.append(ask_with(context, strategy, texts))
            return comparison_of(context, texts.rows, estimate, receipts, datetime.now(UTC))

    return ask_all
