"""The Prefect UI in a real browser: a run is started from the form, watched, and its report read, as a person would.

With LABELMILL_SCREENSHOTS naming a folder, the pictures of the README are left there (`make screenshots`).
"""

import json
import os
import re
from pathlib import Path

import pytest
from chromium import PATIENCE_MS, VIEWPORT, open_browser, open_page
from headlines import LABELS, ROWS, ROWS_PER_CHUNK, write_headlines, write_job
from playwright.sync_api import expect

from labelmill.providers.table import PROVIDERS
from labelmill.report.charts import labels_chart
from labelmill.report.formatting import percent, usd

pytestmark = pytest.mark.system

JOB = "headline-topics"
# A change of what a label means, so that the run has everything to ask.
CHANGED = LABELS | {"health": "medicine, hospitals, food, sleep"}
ROWS_BEFORE = 232
CHUNKS = ROWS // ROWS_PER_CHUNK
RUN_PATIENCE_MS = 90_000
GRAPH_MS = 2_000


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The folder for screenshots."""
    wanted = os.environ.get("LABELMILL_SCREENSHOTS")
    return Path(wanted) if wanted else tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the job. In the README's pictures its path can be read, so that one can be chosen."""
    wanted = os.environ.get("LABELMILL_SCREENSHOTS_JOB")
    return Path(wanted) if wanted else tmp_path_factory.mktemp("headlines")


@pytest.fixture(scope="module")
def browser(need):
    """The machine's Chromium."""
    with open_browser(need("Chromium", "/usr/bin/chromium", "/usr/bin/chromium-browser")) as browser:
        yield browser


@pytest.fixture
def page(browser):
    """A page of its own."""
    with open_page(browser) as page:
        yield page


@pytest.fixture(scope="module")
def deployment(house, folder):
    """The headlines' job, which has run once, is deployed, and has new headlines since."""
    file = write_job(folder, JOB, max_concurrency=8)
    write_headlines(folder, ROWS_BEFORE)
    done = house.labelmill("run", file)
    assert done.returncode == 0, done.stderr
    write_headlines(folder)
    return house.deploy(file)


@pytest.fixture(scope="module")
def form(browser, house, deployment):
    """The page with the run form, reached from the start page by clicks."""
    assert deployment.endswith(f"/{JOB}")
    with open_page(browser) as page:
        page.goto(house.page)
        page.get_by_role("link", name="Deployments", exact=True).click()
        page.get_by_role("link", name=JOB, exact=True).click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Custom run").click()
        expect(page.get_by_role("heading", name="Parameters")).to_be_visible()
        yield page


def _field(page, title):
    """The box of a field: its title, its description and what it is entered in."""
    words = re.compile(rf"^{re.escape(title)}( \(Optional\))?$")
    label = page.locator("label").filter(has_text=words).first
    return label.locator("xpath=ancestor::div[contains(@class, 'group')][1]")


def test_what_people_change_stands_above_the_job(form):
    """Custom run begins with the budget, `retry_failed` and the rows; the job with all of its fields is below."""
    expect(form.locator("label", has_text="Latency seconds")).to_be_visible()
    titles = [title.removesuffix(" (Optional)") for title in form.locator("label:has(+ p)").all_inner_texts()]
    assert titles[:6] == ["max_cost_usd", "retry_failed", "rows", "model_base_url", "job", "Name"]
    field = form.locator("label").filter(has_text=re.compile(r"^max_cost_usd")).first
    assert field.evaluate("label => label.getBoundingClientRect().top + scrollY") < VIEWPORT["height"]


def test_the_form_explains_each_field(form):
    """Every field of the job is in the form, with a title, a description and what the deployment has in it."""
    for title, description, value in (
        ("Text", "The column that holds the text", "title"),
        ("Max concurrency", "The most requests in flight at once", "8"),
        ("Max cost USD", "The most that one run may cost", "0.5"),
        ("Latency seconds", "Mean time to an answer", "0.2"),
    ):
        field = _field(form, title)
        expect(field).to_contain_text(description)
        expect(field.locator("input, textarea").first).to_have_value(value)
    expect(_field(form, "Labels").locator(".cm-content")).to_contain_text(
        '"sport": "matches, teams, players"'
    )
    described = form.locator("label:has(+ p)").count()
    undescribed = form.locator("label:not(:has(+ p))").all_inner_texts()
    assert described > 40
    assert set(undescribed) <= {"Run Name", "Enforce Parameter Schema", "Start"}


def test_choices_are_chosen_from_a_list(form):
    """A field with a few possible values is a list of them, and the job's value is chosen."""
    provider = form.get_by_label("Select Provider")
    expect(provider).to_have_text("practice")
    provider.click()
    assert form.get_by_role("option").all_inner_texts() == list(PROVIDERS)
    form.keyboard.press("Escape")


def test_a_field_of_two_kinds_switches_between_them(form):
    """A number or `auto`, a value or none: the form offers both and keeps what a person enters."""
    rows = _field(form, "Rows per chunk")
    rows.get_by_role("tab", name="str").click()
    expect(rows.locator("textarea")).to_have_value("auto")
    rows.get_by_role("tab", name="int").click()
    rows.get_by_role("spinbutton").fill(str(ROWS_PER_CHUNK))
    expect(rows.get_by_role("spinbutton")).to_have_value(str(ROWS_PER_CHUNK))


def test_a_value_beyond_a_limit_is_refused_in_the_form(form):
    """A number outside its limits is marked, and no run is started."""
    address = form.url
    number = _field(form, "Max concurrency").get_by_role("spinbutton")
    number.fill("0")
    form.get_by_role("button", name="Submit").click()
    assert number.evaluate("field => field.validationMessage") == "Value must be greater than or equal to 1."
    assert form.url == address
    number.fill("8")


@pytest.fixture(scope="module")
def run(form, folder, pictures):
    """The address of the page of a run that was started from the form, and has ended; and what it recorded."""
    _field(form, "Max cost USD").get_by_role("spinbutton").fill("0.25")
    _field(form, "Labels").locator(".cm-content").click()
    form.keyboard.press("Control+A")
    form.keyboard.insert_text(json.dumps(CHANGED, indent=2))
    form.evaluate("scrollTo(0, 0)")
    form.screenshot(path=pictures / "ui-form.png")
    _submit(form)
    form.wait_for_url(re.compile(r"/v2/runs/flow-run/"))
    name = form.get_by_text(re.compile(rf"^{JOB} \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d$")).first
    expect(name).to_be_visible(timeout=RUN_PATIENCE_MS)
    expect(form.get_by_text("Completed", exact=True).first).to_be_visible(timeout=RUN_PATIENCE_MS)
    return form.url, _latest_record(folder)


def _submit(form):
    """Press Submit and open the run."""
    _start(form, lambda: form.get_by_role("button", name="Submit").click())


def _start(page, press):
    """Start a run and open it. A busy server may say "database is locked": a person presses again then."""
    refused = []
    page.on("response", lambda answer: answer.status < 400 or refused.append((answer.status, answer.text())))
    started = page.get_by_role("button", name="View run")
    sorry = page.get_by_text("error while creating flow run")
    for _ in range(3):
        press()
        expect(started.or_(sorry).first).to_be_visible(timeout=PATIENCE_MS)
        if started.is_visible():
            break
        assert all(status >= 500 for status, _ in refused), refused
        expect(sorry).to_be_hidden()
    assert started.is_visible(), refused
    started.click()


def test_the_run_does_what_was_entered(run):
    """What a person changed in the form is what the run was told."""
    _, record = run
    assert record["job"]["labels"] == CHANGED
    assert record["job"]["run"]["max_cost_usd"] == 0.25
    assert (record["texts_asked"], record["rows_total"]) == (ROWS, ROWS)
    assert record["rows_failed"] > 0


def test_the_page_of_the_run_shows_its_tasks_and_artifacts(page, run, pictures):
    """Each chunk is a task run by its number, and each artifact has its card."""
    address, _ = run
    page.goto(address)
    page.get_by_role("tab", name="Task Runs").click()
    names = ["plan", *(f"classify {number}/{CHUNKS}" for number in range(1, CHUNKS + 1)), "merge", "publish"]
    for name in [*names, "announce"]:
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    for words in (
        "Report of",
        "Cost by chunk of",
        "Labels of",
        "Failures of",
        "Labeled data of",
        "Report page of",
    ):
        expect(page.get_by_text(re.compile(f"^{words} {JOB}"))).to_be_visible()
    # The graph is drawn on a canvas, which comes to rest by itself.
    page.wait_for_timeout(GRAPH_MS)
    page.screenshot(path=pictures / "ui-run.png")


def test_the_report_shows_what_happened(page, run, pictures):
    """The report's figures are the record's, and its charts are drawn."""
    address, record = run
    _open(page, address, "report")
    expect(page.get_by_role("heading", name=f"{JOB}: completed")).to_be_visible()
    expect(page.get_by_text(record["run_id"], exact=True)).to_be_visible()
    for what, value in (
        ("rows in the dataset", f"{ROWS}"),
        ("labeled", f"{record['rows_labeled']} ({percent(record['rows_labeled'], ROWS)})"),
        ("failed", f"{record['rows_failed']}"),
        ("requests", f"{record['requests']}"),
        ("cost, had it been paid", usd(record["cost_usd"])),
    ):
        cell = page.get_by_role("cell", name=what, exact=True).first
        expect(cell.locator("xpath=following-sibling::td[1]")).to_have_text(value)
    for words in ("Labels compared with the last run", "Cost of the last 2 runs", "Time to an answer"):
        image = page.get_by_role("img", name=words)
        expect(image).to_be_visible()
        assert image.evaluate("image => image.complete && image.naturalWidth") > 0, words
    page.get_by_role("heading", name="Since the last run").evaluate("heading => heading.scrollIntoView()")
    page.screenshot(path=pictures / "ui-report.png")


def test_the_tables_show_what_happened(page, run):
    """Labels, failures and costs are the record's, row by row."""
    address, record = run
    labels = _table(page, address, "labels", len(record["labels"]))
    assert {row[0]: int(row[1]) for row in labels} == record["labels"]
    failures = _table(page, address, "failures", len(record["failures"]))
    assert {row[0]: int(row[1]) for row in failures} == record["failures"]
    costs = _table(page, address, "costs", CHUNKS)
    assert sum(int(row[2]) for row in costs) == ROWS
    assert sum(int(row[5]) for row in costs) == record["requests"]
    assert all(row[1].startswith("$") for row in costs)


def test_the_progress_ends_at_all_of_it(page, run):
    """The progress artifact of a run that is over shows all of its texts."""
    address, _ = run
    _open(page, address, "progress")
    expect(page.get_by_text("Progress: 100%")).to_be_visible()
    expect(page.get_by_text(re.compile(rf"^merged: {ROWS} of {ROWS} texts"))).to_be_visible()


def test_no_chart_cuts_off_its_words(page):
    """Even where a label goes from no row to all of them, its words end inside the image."""
    page.set_content(labels_chart({"all": 100, "none": 0}, {"all": 0, "none": 100}))
    for words in page.locator("svg text").all():
        box = words.evaluate(
            "words => [words.getBBox().x, words.getBBox().width, words.ownerSVGElement.viewBox.baseVal.width]"
        )
        assert 0 <= box[0] < box[0] + box[1] <= box[2], words.text_content()


def test_the_report_page_opens_by_itself(page, run, folder, pictures):
    """`report.html` is whole without a network: opened as a file it shows what the run came to."""
    _, record = run
    page.goto((folder / JOB / "runs" / record["run_id"] / "report.html").as_uri())
    expect(page.get_by_role("heading", name=JOB)).to_be_visible()
    expect(page.get_by_text(usd(record["cost_usd"])).first).to_be_visible()
    # The picture ends where a section does.
    page.set_viewport_size({"width": 900, "height": VIEWPORT["height"]})
    below = page.get_by_role("heading", name="Since the last run").bounding_box()
    page.set_viewport_size({"width": 900, "height": round(below["y"])})
    page.screenshot(path=pictures / "report.png")


def test_quick_run_starts_at_once(page, house, deployment):
    """The deployment holds what a run needs: no form opens, and the run completes with its rows and its cost as its message."""
    assert deployment.endswith(f"/{JOB}")
    page.goto(f"{house.page}/v2/deployments")
    page.get_by_role("link", name=JOB, exact=True).click()

    def press():
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Quick run").click()

    _start(page, press)
    page.wait_for_url(re.compile(r"/v2/runs/flow-run/"))
    run = house.wait_for_end({"id": page.url.split("/flow-run/")[1].split("?")[0]})
    assert run["state"]["name"] == "Completed", run["state"]
    assert re.match(rf"^\d+ of {ROWS} rows labeled, \$0\.\d+ ", run["state"]["message"]), run["state"]


def _latest_record(folder):
    runs = sorted((folder / JOB / "runs").iterdir())
    return json.loads((runs[-1] / "run.json").read_text())


def _open(page, run, what):
    """Open one of a run's artifacts from the run's page."""
    page.goto(run)
    page.get_by_role("tab", name="Artifacts").click()
    page.locator(f"a[href$='{JOB}-{what}']").first.click()
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    page.get_by_role("tab", name="Artifact", exact=True).wait_for(timeout=PATIENCE_MS)


def _table(page, run, what, rows):
    """The cells of a table artifact, once the page shows as many rows as there should be."""
    _open(page, run, what)
    expect(page.get_by_role("row")).to_have_count(1 + rows)
    return [
        [cell.strip() for cell in row.get_by_role("cell").all_inner_texts()]
        for row in page.get_by_role("row").all()[1:]
    ]
