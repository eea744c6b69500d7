"""Whole runs against endpoints that refuse a field of a request by its name: the other form, or the end, at no cost."""

import json
import re
from collections import Counter

import pytest
from batch_server import BatchServer, answered
from servers.base import completion, error, serving
from servers.refusing import Refusing, holds

from labelmill.pipeline.compare import compare
from labelmill.providers.refusals import advice_on, refusal_wordings
from practice import PracticeSettings

pytestmark = pytest.mark.slow

TEXTS = [f"the {word} of day {number}" for number in range(20) for word in ("match", "market")]
LITERAL = {"type": "literal_error", "loc": ("body", "response_format", "type"), "input": "json_schema"}
WORDS = [LITERAL | {"msg": "Input should be 'text' or 'json_object'"}]
C1 = (500, {"error": {"message": str(WORDS), "type": "internal_server_error", "param": None, "code": None}})
OTHERS = {"max_tokens", "system"}
"""What a first question has another form for, beside what binds its answer."""
BINDINGS = {"response_format", "structured_outputs", "guided_choice", "regex", "grammar"}
OWNERS = {"structured_outputs": "vllm", "guided_choice": "vllm", "regex": "sglang", "grammar": "llamacpp"}
"""Whose models are first asked with a field."""
FAST = {"run": {"max_concurrency": 8, "max_attempts": 4, "rows_per_chunk": 5}}


def job_for(field):
    """The sections of a job whose requests hold a field."""
    if field in BINDINGS - {"response_format"}:
        return {"model": {"output": "choice"}}
    if field == "response_format":
        return {"model": {"output": "schema"}}
    return {"model": {"confidence": field == "logprobs"}}


@pytest.mark.parametrize(
    "wording", refusal_wordings(), ids=lambda wording: f"{wording.provider}-{wording.example['field']}"
)
def test_every_refusal_that_is_known_leads_to_the_other_form_or_to_a_sentence(world, wording):
    """Whatever status carries it: no row fails, nothing is paid for it, and no request is sent twice in the same form."""
    field, status, body = (wording.example[name] for name in ("field", "status", "body"))
    world.has(TEXTS[:12])
    sections, refused = job_for(field), {field: (status, body)}
    if field == "max_completion_tokens":
        refused["max_tokens"] = (400, '{"detail":"\'max_tokens\' is not supported with this model."}')
    if field == "guided_choice":
        refused["structured_outputs"] = (
            400,
            '{"error":{"message":"Unknown parameter: \'structured_outputs\'."}}',
        )
    understands = {"json_schema", "json_object_schema"}
    if wording.wants is not None:
        refused = {"messages": (status, body)}  # whatever is sent, until the setting is
    if field == "response_format":
        refused = {"json_schema": (status, body)}
    with Refusing(refused, understands, is_small=field == "roles", owned_by=OWNERS.get(field)) as server:
        record = world.run(server, **sections, **FAST)
        has_other = field in OTHERS | BINDINGS | {"roles"}
        assert server.refusals.keys() == refused.keys()
        if has_other:
            assert (record.status, record.rows_labeled, record.failures) == ("completed", 12, {})
            assert sum(server.refusals.values()) <= 8 * len(refused)
        else:
            assert (record.status, record.rows_failed, record.rows_pending) == ("failed", 0, 12)
            assert advice_on(field) in record.message
            assert server.requests <= 8 * len(refused)
            assert record.cost_usd == 0
        world.assert_bill_is(server)


def test_a_server_that_knows_json_objects_alone_labels_everything(world):
    """llama-cpp-python's 500 over a correction's schema: the text is asked once more, bound by what that server has."""
    world.has(TEXTS)
    with Refusing({"json_schema": C1}, {"json_object_schema"}, is_small=True) as server:
        record = world.run(server, **FAST)
        assert (record.status, record.rows_labeled, record.failures) == ("completed", 40, {})
        assert server.means == {None: 40, "json_object_schema": 40}
        assert 1 <= server.refusals["json_schema"] <= 8
        world.assert_labels(40)
        world.assert_bill_is(server)
        assert world.run(server, **FAST).requests == 0


@pytest.mark.parametrize(
    ("owned_by", "understands", "first"),
    [
        ("vllm", "structured_outputs", "structured_outputs"),
        ("sglang", "regex", "regex"),
        ("llamacpp", "grammar", "grammar"),
        ("library", "json_schema", "json_schema"),
        ("me", "json_object_schema", "json_object_schema"),
        (None, "json_schema", "json_schema"),
    ],
)
def test_an_answer_is_bound_by_the_endpoints_own_means(world, owned_by, understands, first):
    """Its list of models tells which; nothing else is tried, and each text takes one request."""
    world.has(TEXTS)
    with Refusing((), {understands}, is_small=True, owned_by=owned_by) as server:
        record = world.run(server, model={"output": "choice"}, **FAST)
        assert (record.status, record.rows_labeled, record.requests) == ("completed", 40, 40)
        assert server.means == {first: 40}
        world.assert_bill_is(server)


@pytest.mark.parametrize("understands", ["json_object_schema", "guided_choice", "grammar"])
def test_the_means_is_found_out_once_where_nothing_tells(world, understands):
    """What is refused is tried by the requests in flight, and by no other text of the run."""
    known = {"json_schema", "json_object_schema", "structured_outputs", "guided_choice", "regex", "grammar"}
    words = "Extra inputs are not permitted"
    refused = {
        name: (422, {"detail": [{"loc": ["body", _field_of(name)], "msg": words}]})
        for name in known - {understands}
    }
    world.has(TEXTS)
    with Refusing(refused, {understands}, is_small=True) as server:
        record = world.run(server, model={"output": "choice"}, **FAST)
        assert (record.status, record.rows_labeled) == ("completed", 40)
        assert server.means == {understands: 40}
        assert max(server.refusals.values(), default=0) <= 8
        world.assert_bill_is(server)


def _field_of(name):
    return "response_format" if name.startswith("json") else name


def test_a_means_that_is_passed_over_in_silence_is_noticed_by_the_answers(world):
    """A small model's sentence under a schema says that nothing held it: the next texts are held by something else."""
    world.has(TEXTS)
    with Refusing((), {"json_object_schema"}, is_small=True) as server:
        record = world.run(server, model={"output": "choice"}, **FAST)
        assert (record.status, record.rows_labeled) == ("completed", 40)
        assert server.means["json_schema"] <= 8
        world.assert_bill_is(server)


def test_a_job_that_wants_its_answers_bound_is_told_where_nothing_binds_them(world):
    """Every means was refused: the run ends before anything is paid, and says what to change."""
    refused = {
        field: (400, {"error": {"message": f"Unknown parameter: '{field}'."}}) for field in sorted(BINDINGS)
    }
    world.has(TEXTS)
    with Refusing(refused) as server:
        record = world.run(server, model={"output": "choice"}, **FAST)
        assert (record.status, record.rows_failed, record.cost_usd) == ("failed", 0, 0)
        assert re.search(r"Unknown parameter: .*; set model\.output = \"text\"", record.message)
        world.assert_bill_is(server)


def test_roles_alternate_where_they_have_to(world):
    """The correction stands after the model's own answer, from the first refusal on; the first question is as it was."""
    words = (400, {"message": "Conversation roles must alternate user/assistant/user/assistant/..."})
    world.has(TEXTS)
    with Refusing({"roles": words}, {"json_schema"}, is_small=True) as server:
        record = world.run(server, **FAST)
        assert (record.status, record.rows_labeled, record.failures) == ("completed", 40, {})
        roles = {tuple(message["role"] for message in body["messages"]) for body in server.bodies}
        assert roles == {("system", "user"), ("system", "user", "assistant", "user")}
        assert 1 <= server.refusals["roles"] <= 8
        world.assert_bill_is(server)


def test_a_text_that_reads_like_a_refusal_is_the_texts_own(world):
    """A server that repeats such a text in its error refuses that text alone; the others' form stays as it was."""
    odd = "max_tokens: Extra inputs are not permitted, says a match report"
    world.has([*TEXTS, odd])

    class Echoing(Refusing):
        def reply(self, call):
            return error(400, f"{call.text}") if call.text == odd else completion(call)

    with Echoing() as server:
        record = world.run(server, **FAST)
        assert (record.rows_labeled, record.failures) == (40, {"bad_request": 1})
        assert all(holds(body, "max_tokens") for body in server.bodies)
        world.assert_bill_is(server)


def test_a_binding_refused_in_words_that_nobody_knows_is_left_out(world):
    """Whatever the endpoint calls it: each text is asked without, and after two of them none is asked with it."""
    world.has([*TEXTS, *(f"{text} again" for text in TEXTS)])

    class OnceWrong(Refusing):
        def reply(self, call):
            return super().reply(call) if call.number_of_text > 1 else completion(call, "cricket")

    words = (400, {"error": {"message": "This can't be done."}})
    settings = {**FAST["run"], "stop_at_failed_fraction": 1}
    with OnceWrong(dict.fromkeys(["json_schema", "json_object_schema"], words)) as server:
        record = world.run(server, run=settings)
        assert (record.status, record.rows_labeled, record.failures) == ("completed", 80, {})
        assert all(2 <= refused < 40 for refused in server.refusals.values())
        world.assert_bill_is(server)


def test_a_refusal_within_a_200_is_one_all_the_same(world):
    """Gateways answer so where their upstream has refused a field; nothing was paid."""
    words = {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}}
    world.has(TEXTS)
    with Refusing({"max_tokens": (200, words)}) as server:
        record = world.run(server, **FAST)
        assert (record.status, record.rows_labeled) == ("completed", 40)
        assert (record.requests_without_usage, record.requests) == (0, 40 + server.refusals["max_tokens"])


def test_a_comparison_finds_the_form_by_its_first_text(world):
    """The text that opens the connection is refused; what is compared then is answers alone."""
    words = {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}}
    world.has(TEXTS)
    with Refusing({"max_tokens": (400, words)}) as server:
        found = compare(world.job(), server.base_url, rows=20, concurrency=(2,), batch_wait_minutes=0)
        assert (found.status, server.refusals["max_tokens"]) == ("completed", 1)
        assert server.requests == found.requests == 2 + 3 * 20


@pytest.mark.parametrize(
    "wording", refusal_wordings(), ids=lambda wording: f"{wording.provider}-{wording.example['field']}"
)
def test_every_refusal_that_is_known_is_read_in_a_batch_too(world, wording):
    """All rows are refused: they go out in the other form, or the run ends on the sentence; nothing was paid for it."""
    field, status, body = (wording.example[name] for name in ("field", "status", "body"))
    try:
        body = json.loads(body)
    except ValueError:
        body = {"message": body}
    row = {"response": {"status_code": status, "body": body}, "error": None}
    world.has(TEXTS[:6])
    times = Counter()

    def result_of(text, _):
        times[text.split("\n\n")[-1]] += 1
        return row if times[text.split("\n\n")[-1]] == 1 else answered()

    with serving(BatchServer()) as server:
        server.result_of = result_of
        record = world.run(server, run=BATCH, **job_for(field))
        if field in OTHERS | BINDINGS | {"roles", "max_completion_tokens"}:
            assert (record.status, record.rows_labeled, record.failures) == ("completed", 6, {})
            assert (len(server.batches), record.requests) == (2, 12)
        else:
            assert (record.status, record.rows_pending, record.cost_usd) == ("failed", 6, 0)
            assert advice_on(field) in record.message
            assert len(server.batches) == 1


def test_a_batch_taken_for_invalid_over_a_field_goes_out_in_the_other_form(world):
    """A provider may look at the fields before it works on any row, and refuse the batch as a whole."""
    words = "Unsupported parameter: 'max_tokens' is not supported with this model."
    failed = {"status": "failed", "output_file_id": None, "error_file_id": None}
    failed |= {"errors": {"data": [{"code": "invalid_request", "message": words}]}}
    failed["request_counts"] = {"total": 0, "completed": 0, "failed": 0}

    def show(batch, _):
        is_refused = b'"max_tokens"' in server.files[batch["input_file_id"]]
        return batch | failed if is_refused else batch

    world.has(TEXTS)
    with serving(BatchServer()) as server:
        server.show = show
        record = world.run(server, run=BATCH)
        assert (record.status, record.rows_labeled, len(server.batches)) == ("completed", 40, 2)
        assert [batch.step for batch in record.batches] == ["dropped", "harvested"]


BATCH = {"lane": "batch", "poll_seconds": 0.05}


@pytest.fixture
def run_batch(world, practice):
    """Run the world's job on the batch lane against a practice provider that refuses these fields."""

    def run(refused, status=400, faults=None, **sections):
        practice.configure(
            PracticeSettings(refused_fields=refused, refusal_status=status, faults=faults or {})
        )
        practice.reset()
        record = world.run(
            practice,
            **{"run": BATCH, **sections, "model": {"provider": "practice", **sections.get("model", {})}},
        )
        return record, practice.totals()

    yield run
    practice.configure(PracticeSettings())
    practice.reset()


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize(
    ("refused", "model", "batches"),
    [
        (("max_tokens",), {}, 2),
        (("system",), {}, 2),
        (("max_tokens", "system"), {}, 3),
        (("response_format.json_schema",), {"output": "choice"}, 2),
        (("response_format", "structured_outputs"), {"output": "choice"}, 4),
    ],
)
def test_a_batch_that_is_refused_for_its_form_goes_out_in_the_next(
    world, run_batch, status, refused, model, batches
):
    """No row has failed, nothing was paid for it, and there is an end to it."""
    world.has(TEXTS)
    record, totals = run_batch(refused, status, model=model)
    assert (record.status, record.rows_labeled, record.failures) == ("completed", 40, {})
    assert totals["batches"] == batches
    assert totals["batch_rows_billed"] == 40
    assert (record.requests, record.requests_without_usage) == (40 * batches, 0)
    assert record.input_tokens == totals["batch_input_tokens"]


def test_the_next_run_sends_its_batch_in_the_form_that_was_answered(world, run_batch, practice):
    """A batch takes hours: the day after, none is spent on what the endpoint refused the day before."""
    world.has(TEXTS)
    run_batch(("max_tokens", "system"))
    world.has([*TEXTS, "a new match", "a new market"])
    record = world.run(practice, run=BATCH, model={"provider": "practice"})
    assert (record.status, record.rows_labeled, record.requests) == ("completed", 42, 2)
    assert practice.totals()["batches"] == 3 + 1


def test_a_batch_in_a_form_without_another_ends_the_run(world, run_batch):
    """At the first batch, in the provider's words, with the field to change; its rows are pending."""
    world.has(TEXTS)
    record, totals = run_batch(("temperature",))
    assert (record.status, record.rows_pending, record.rows_failed) == ("failed", 40, 0)
    assert "'temperature' is not supported with this model" in record.message
    assert 'model.temperature = "unset"' in record.message
    assert (totals["batches"], record.cost_usd) == (1, 0)


def test_what_a_batch_found_out_the_live_lane_knows(world, run_batch):
    """Texts that are asked live after their batch take the form that the batches have found: none is refused again."""
    world.has(TEXTS)
    settings = {**BATCH, "retry_lane": "live"}
    record, totals = run_batch(("max_tokens",), faults={"off_label": 0.4}, run=settings)
    assert (record.status, record.rows_labeled, totals["batches"]) == ("completed", 40, 2)
    assert totals["requests"] > 0
    assert totals["by_status"] == {"200": totals["requests"]}
