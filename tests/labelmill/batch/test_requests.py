"""The file of requests: what the live lane would send, in order, and never more than there is room for."""

import hashlib
import json
import time
import tracemalloc
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelmill.batch.record import REQUESTS_SCHEMA
from labelmill.batch.requests import RequestWriter, Room, Size
from labelmill.job.model import Run
from labelmill.live.breaker import CircuitBreaker
from labelmill.live.chain import chain_of
from labelmill.live.guard import RequestGuard
from labelmill.live.questions import Question, after_failure
from labelmill.live.throttle import Throttle
from labelmill.money.budget import Budget
from labelmill.providers.table import price_of
from labelmill.question.failures import Failure
from labelmill.question.form import correction_form_of, form_of
from labelmill.store.row_key import row_key_of

WIDE = Room(50_000, 200_000_000)
ODD = [
    "plain",
    "银行发布了“财报”\n第二行",
    'with "quotes" and {braces}',
    "tab\tand\u2028separator",
    " ",
    "🎉" * 20,
]


@pytest.fixture
def writer_of(job_of):
    """Build the writer of a job: `writer_of(model={...}, is_correction=True)`."""

    def build(base_url="http://127.0.0.1:9/v1", *, is_correction=False, under_schema=False, **sections):
        job = job_of(**sections)
        price = price_of(job.model, job.price, base_url, "batch")
        return RequestWriter(job, base_url, price, is_correction=is_correction, under_schema=under_schema)

    return build


@pytest.fixture
def written(tmp_path):
    """Write a group's requests: the file's facts, its lines, and the row keys beside them."""

    def write(writer, group, offset=0, room=WIDE):
        paths = tmp_path / "requests.jsonl", tmp_path / "requests.parquet"
        file = writer.write(group, offset, room, *paths)
        content = paths[0].read_bytes()
        assert file.fingerprint == hashlib.sha256(content).hexdigest()
        assert file.size.bytes == len(content)
        lines = [json.loads(line) for line in content.split(b"\n")[:-1]]
        assert file.size.requests == len(lines)
        keys = pl.read_parquet(paths[1])
        assert keys.schema == REQUESTS_SCHEMA
        assert keys["row_key"].to_list() == [line["custom_id"] for line in lines]
        return file, lines

    return write


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"output": "schema"},
        {"confidence": True, "temperature": 0.7, "max_tokens": 99},
        {"output": "schema", "max_tokens": 5},
        {"name": "o4-mini", "temperature": 1.0},
    ],
)
@pytest.mark.parametrize("is_correction", [False, True])
def test_a_line_holds_the_very_body_that_the_live_lane_sends(
    staged, completion, writer_of, written, write_group, job_of, model, is_correction
):
    """Prompt, settings, form and correction: whatever the lane, a text is asked in the same words, which cost the same."""
    staged.stage("/chat/completions", completion())
    job = job_of(model=model)
    guard = RequestGuard(Run(), Throttle(Run()), Budget(None), CircuitBreaker(1.0), None)
    chain = chain_of(job, staged.base_url, "practice", guard, is_correction=is_correction)
    questions = [Question(row_key_of(text), text) for text in ODD]
    if is_correction:
        questions = [after_failure(one, Failure("off_label", "m"), job) for one in questions]
    for question in questions:
        chain.invoke(question.as_input())
    writer = writer_of(staged.base_url, model=model, is_correction=is_correction, under_schema=is_correction)
    group = write_group(ODD, ["off_label"] * len(ODD) if is_correction else None, under_schema=is_correction)
    _, lines = written(writer, group)
    live = [{name: value for name, value in body.items() if name != "stream"} for body in staged.bodies]
    assert [line["body"] for line in lines] == live
    assert not any(body.get("stream") for body in staged.bodies)
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    assert [line["custom_id"] for line in lines] == [row_key_of(text) for text in ODD]


def test_openai_itself_is_told_the_newer_name_of_max_tokens(writer_of):
    """As on the live lane: other endpoints may know only the older one."""
    for base_url, name in (
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("http://127.0.0.1:9/v1", "max_tokens"),
    ):
        line, _ = writer_of(base_url).line_of("v1:0", "a text", None)
        assert {"max_tokens", "max_completion_tokens"} & json.loads(line)["body"].keys() == {name}


def test_a_text_without_a_schema_is_corrected_in_the_jobs_own_form(writer_of, written, write_group, job_of):
    """Where the endpoint has refused a schema: the correction is said, and no schema asked for."""
    writer = writer_of(is_correction=True)
    file, (line,) = written(writer, write_group(["x"], ["refused"]))
    assert "response_format" not in line["body"]
    assert "refusal" in line["body"]["messages"][-1]["content"]
    assert line["body"]["max_tokens"] == form_of(job_of()).max_tokens
    assert file.size.requests == 1


def test_the_form_of_a_batch_is_the_jobs_or_a_corrections(writer_of, job_of):
    """Its answers are read by the form in which they were asked."""
    job = job_of()
    assert writer_of().form == form_of(job)
    assert writer_of(is_correction=True, under_schema=True).form == correction_form_of(job)


def test_an_order_is_kept_from_any_offset(writer_of, written, write_group):
    """A batch holds the group's texts from where the last one ended, in the group's order."""
    texts = [f"text {number}" for number in range(7)]
    file, lines = written(writer_of(), write_group(texts), offset=3, room=Room(2, 10**9))
    assert [line["body"]["messages"][1]["content"] for line in lines] == texts[3:5]
    assert file.bound == "requests"
    file, lines = written(writer_of(), write_group(texts), offset=5, room=WIDE)
    assert [line["body"]["messages"][1]["content"] for line in lines] == texts[5:]
    assert file.bound is None


def test_a_file_larger_than_one_read_is_whole(writer_of, written, write_group, monkeypatch):
    """Texts are read a few at a time; none is lost or doubled where one read ends and the next begins."""
    monkeypatch.setattr("labelmill.batch.requests._TEXTS_AT_ONCE", 3)
    texts = [f"text {number}" for number in range(10)]
    for offset in (0, 2, 3, 9):
        _, lines = written(writer_of(), write_group(texts), offset)
        assert [line["body"]["messages"][1]["content"] for line in lines] == texts[offset:]


@pytest.mark.parametrize("bound", ["requests", "bytes", "tokens", "budget"])
def test_each_limit_is_kept_to_the_last_text_that_fits(writer_of, written, write_group, bound):
    """A room that is just large enough for three texts takes three; a hair less takes two; none for one takes none."""
    writer, group = writer_of(), write_group([f"text {number}" for number in range(5)])
    whole, _ = written(writer, group, room=Room(3, 10**9))
    fields = {"requests": "requests", "bytes": "bytes", "tokens": "tokens", "budget": "worst_case_usd"}
    enough = getattr(whole.size, fields[bound])
    name = {"budget": "usd"}.get(bound, bound)
    hair = Decimal("1e-12") if bound == "budget" else 1

    def room(limit):
        return Room(**{"requests": 10**9, "bytes": 10**9, name: limit})

    for limit, texts in ((enough, 3), (enough - hair, 2), (hair, 1 if bound == "requests" else 0), (0, 0)):
        file, lines = written(writer, group, room=room(limit))
        assert (len(lines), file.bound) == (texts, bound)


@settings(deadline=None)
@given(
    sizes=st.lists(
        st.builds(
            Size,
            st.integers(0, 9),
            st.integers(0, 9),
            st.integers(0, 9),
            st.none() | st.integers(0, 9).map(Decimal),
        ),
        max_size=5,
    ),
    room=st.builds(
        Room,
        st.integers(0, 20),
        st.integers(0, 20),
        st.none() | st.integers(0, 20),
        st.none() | st.integers(0, 20).map(Decimal),
    ),
)
def test_sizes_add_up_and_fit_or_tell_which_limit_they_pass(sizes, room):
    """An unknown cost makes the sum unknown; what passes no limit fits."""
    total = sum(sizes, Size())
    costs = [size.worst_case_usd for size in sizes]
    assert total.worst_case_usd == (None if None in costs else sum(costs, Decimal(0)))
    passed = {
        "requests": total.requests > room.requests,
        "bytes": total.bytes > room.bytes,
        "tokens": room.tokens is not None and total.tokens > room.tokens,
        "budget": room.usd is not None and (total.worst_case_usd or 0) > room.usd,
    }
    bound = room.bound_of(total)
    assert passed[bound] if bound else not any(passed.values())


def test_the_worst_case_is_counted_at_the_batch_lanes_price(writer_of, written, write_group):
    """At half of the live lane's; unknown where the price is."""
    group = write_group(["a", "b"])
    half = written(writer_of(), group)[0].size.worst_case_usd
    own = {"input_usd_per_mtok": 0.15, "output_usd_per_mtok": 0.6}
    for fraction, expected in ((1.0, 2 * half), (0.5, half), (None, None)):
        writer = writer_of(price={**own, "batch_fraction": fraction})
        assert written(writer, group)[0].size.worst_case_usd == expected
    assert half > 0


def test_no_batch_can_cost_more_than_its_worst_case(practice, writer_of, write_group, client, tmp_path):
    """What the provider bills for the file is within what was set aside for it."""
    writer, path = writer_of(practice.base_url), tmp_path / "requests.jsonl"
    file = writer.write(write_group(ODD), 0, WIDE, path, tmp_path / "requests.parquet")
    batch_id = client.send(path, {})
    while not client.state(batch_id).status.is_final:
        time.sleep(0.02)
    answers = client.answers(batch_id, list(map(row_key_of, ODD)), {})
    answered = [row.answer.usage for row in answers]
    assert len(answered) == len(ODD)
    per_token = {"input_tokens": Decimal("0.075"), "output_tokens": Decimal("0.3")}
    paid = sum(getattr(usage, name) * rate for usage in answered for name, rate in per_token.items())
    paid /= 1_000_000
    assert 0 < paid <= file.size.worst_case_usd


def test_a_file_is_never_whole_in_memory(writer_of, write_group, tmp_path):
    """Thirty megabytes of requests take a few: texts are read, written and forgotten."""
    group = write_group([f"{number} " + "x" * 20_000 for number in range(1500)])
    writer = writer_of()
    tracemalloc.start()
    try:
        file = writer.write(group, 0, WIDE, tmp_path / "r.jsonl", tmp_path / "r.parquet")
        assert tracemalloc.get_traced_memory()[1] < file.size.bytes / 2
    finally:
        tracemalloc.stop()
    assert file.size.bytes > 30_000_000


def test_an_empty_room_leaves_a_file_without_a_request(writer_of, written, write_group):
    """Its size says so, and no text is lost."""
    file, lines = written(writer_of(), write_group(["a"]), room=Room(10, 10))
    assert (lines, file.bound, file.size) == ([], "bytes", Size())
