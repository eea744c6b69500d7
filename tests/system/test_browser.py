"""The Prefect UI in a real browser: a run is started from the form, watched, and its report read, as a person would.

With LABELMILL_SCREENSHOTS naming a folder, the pictures of the README are left there (`make screenshots`).
"""

import json
import os
import re
from pathlib import Path

import pytest
from chromium import PATIENCE_MS, open_browser, open_page
from headlines import LABELS, ROWS, write_job
from playwright.sync_api import expect

from labelmill.report.wording import percent, usd

pytestmark = pytest.mark.system

JOB = "headline-topics"
# A change of what a label means, so that the run has everything to ask.
CHANGED = LABELS | {"health": "medicine, hospitals, food, sleep"}
RUN_PATIENCE_MS = 90_000


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
    """The headlines' job, which has run once and is deployed."""
    file = write_job(folder, JOB, max_concurrency=8)
    done = house.labelmill("run", file)
    assert done.returncode == 0, done.stderr
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


def _typed(page, title, value):
    _field(page, title).locator("input, textarea").first.fill(value)


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
    assert form.get_by_role("option").all_inner_texts() == ["openai", "practice"]
    form.keyboard.press("Escape")


def test_a_field_of_two_kinds_switches_between_them(form):
    """A number or `auto`, a value or none: the form offers both and keeps what a person enters."""
    rows = _field(form, "Rows per chunk")
    rows.get_by_role("tab", name="str").click()
    expect(rows.locator("textarea")).to_have_value("auto")
    rows.get_by_role("tab", name="int").click()
    rows.get_by_role("spinbutton").fill("36")
    expect(rows.get_by_role("spinbutton")).to_have_value("36")


def test_a_value_beyond_a_limit_is_refused_in_the_form(form):
    """A number outside its limits is marked, and no run is started."""
    address = form.url
    number = _field(form, "Max concurrency").get_by_role("spinbutton")
    number.fill("0")
    form.get_by_role("button", name="Submit").click()
    assert number.evaluate("field => field.validationMessage") == "Value must be greater than or equal to 1."
    assert form.url == address
    number.fill("8")


def test_a_run_is_started_from_the_form_watched_and_read(form, folder, pictures):
    """The run does what was entered; its page shows its tasks, and the report, tables and progress say what happened."""
    page = form
    _typed(page, "Max cost USD", "0.25")
    page.evaluate("window.scrollTo(0, 0)")
    _field(page, "Labels").locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(json.dumps(CHANGED, indent=2))
    _field(page, "Name").scroll_into_view_if_needed()
    page.screenshot(path=pictures / "ui-form.png")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").click()

    page.wait_for_url(re.compile(r"/v2/runs/flow-run/"))
    expect(page.get_by_text(re.compile(rf"^{JOB} \d{{4}}-\d\d-\d\d$")).first).to_be_visible(
        timeout=RUN_PATIENCE_MS
    )
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=RUN_PATIENCE_MS)
    record = _latest_record(folder)
    assert record["job"]["labels"] == CHANGED
    assert record["job"]["run"]["max_cost_usd"] == 0.25
    assert (record["texts_asked"], record["rows_total"]) == (ROWS, ROWS)
    assert record["rows_failed"] > 0

    page.get_by_role("tab", name="Task Runs").click()
    chunks = ROWS // 36
    for name in [f"classify {number}/{chunks}" for number in range(1, chunks + 1)] + [
        "merge",
        "publish",
        "announce",
    ]:
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    expect(page.get_by_role("link", name=re.compile("headline-topics-report"))).to_be_visible()
    page.screenshot(path=pictures / "ui-run.png")
    run = page.url

    _open(page, run, "report")
    expect(page.get_by_role("heading", name=f"{JOB}: completed")).to_be_visible()
    assert record["run_id"] in page.locator("main, body").first.inner_text()
    for what, value in (
        ("rows in the dataset", f"{ROWS}"),
        ("labeled", f"{record['rows_labeled']} ({percent(record['rows_labeled'], ROWS)})"),
        ("failed", f"{record['rows_failed']}"),
        ("requests", f"{record['requests']}"),
        ("cost, had it been paid", usd(record["cost_usd"])),
    ):
        assert _shown_beside(page, what) == value
    images = page.locator(
        "img[alt='Labels against the last run'], img[alt^='Cost of'], img[alt='Time to an answer']"
    )
    expect(images).to_have_count(3)
    assert all(image.evaluate("image => image.naturalWidth") > 0 for image in images.all())
    page.screenshot(path=pictures / "ui-report.png")

    _open(page, run, "labels")
    expect(page.get_by_role("row")).to_have_count(1 + len(record["labels"]))
    shown = {row[0]: row[1] for row in _table(page)}
    assert shown == {label: f"{count:,}" for label, count in record["labels"].items()}
    _open(page, run, "costs")
    expect(page.get_by_role("row")).to_have_count(1 + chunks)
    assert sum(int(row[2]) for row in _table(page)) == ROWS
    assert sum(int(row[5]) for row in _table(page)) == record["requests"]
    _open(page, run, "failures")
    expect(page.get_by_role("row")).to_have_count(1 + len(record["failures"]))
    assert {row[0]: int(row[1]) for row in _table(page)} == record["failures"]
    _open(page, run, "progress")
    expect(page.get_by_text("Progress: 100%")).to_be_visible()
    expect(page.get_by_text(re.compile(rf"{ROWS} of {ROWS} texts"))).to_be_visible()


@pytest.mark.usefixtures("deployment")
def test_the_report_page_opens_by_itself(page, folder, pictures):
    """`report.html` is whole without a network: opened as a file it shows what the run came to."""
    record = _latest_record(folder)
    page.goto((folder / JOB / "runs" / record["run_id"] / "report.html").as_uri())
    expect(page.get_by_role("heading", name=JOB)).to_be_visible()
    expect(page.get_by_text(usd(record["cost_usd"])).first).to_be_visible()
    page.set_viewport_size({"width": 900, "height": 900})
    page.screenshot(path=pictures / "report.png", full_page=True)


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


def _shown_beside(page, what):
    """The cell to the right of the first cell with these words."""
    cell = page.get_by_role("cell", name=what, exact=True).first
    return cell.locator("xpath=following-sibling::td[1]").inner_text().strip()


def _table(page):
    return [
        [cell.strip() for cell in row.get_by_role("cell").all_inner_texts()]
        for row in page.get_by_role("row").all()[1:]
    ]
