"""A server for more than one person: its database is PostgreSQL, and nothing is said without the password."""

import json
import re
import urllib.error

import pytest
from chromium import open_browser, open_page
from headlines import ROWS, write_job
from playwright.sync_api import expect
from postgres import NAME, PASSWORD, ask_postgres, open_postgres

pytestmark = pytest.mark.system

JOB = "guarded-topics"
AUTH = "admin:another-long-password"


@pytest.fixture(scope="module")
def programs(need):
    """The folder of PostgreSQL's programs."""
    return need("PostgreSQL", "/usr/lib/postgresql/*/bin/initdb").parent


@pytest.fixture(scope="module")
def port(programs):
    """The port of a PostgreSQL that is up."""
    with open_postgres(programs) as port:
        yield port


@pytest.fixture(scope="module")
def guarded(open_house, port):
    """A house on PostgreSQL, with a password and protection against forged requests, all set in `.env`."""
    with open_house(
        PREFECT_SERVER_DATABASE_CONNECTION_URL=f"postgresql+asyncpg://{NAME}:{PASSWORD}@127.0.0.1:{port}/{NAME}",
        PREFECT_SERVER_API_AUTH_STRING=AUTH,
        PREFECT_API_AUTH_STRING=AUTH,
        PREFECT_SERVER_CSRF_PROTECTION_ENABLED="true",
    ) as house:
        house.ask_with_csrf_token()
        yield house


@pytest.fixture(scope="module")
def labeled(guarded, tmp_path_factory):
    """The folder of a job that was run from the command line, and deployed."""
    folder = tmp_path_factory.mktemp("guarded")
    file = write_job(folder, JOB)
    done = guarded.labelmill("run", file)
    assert done.returncode == 0, done.stderr
    assert "Beginning flow run" in done.stderr
    guarded.deploy(file)
    return folder


@pytest.mark.parametrize("authorization", [None, "Basic d3Jvbmc6d29yZA=="])
def test_the_api_says_nothing_without_the_password(guarded, authorization):
    """No password and a wrong one are both 401."""
    headers = {"authorization": authorization} if authorization else {}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        guarded.send("/deployments/name/label-dataset/daily-sample", None, headers)


def test_a_change_without_a_token_is_refused(guarded):
    """A request that changes something needs a token besides the password, which a forged one can't have."""
    with pytest.raises(urllib.error.HTTPError, match="403"):
        guarded.ask("/flow_runs/filter", {}, csrf=False)


def test_a_deployed_run_goes_through_the_worker(guarded, labeled, programs, port):
    """The worker's run completes, leaves its artifacts, and pays for nothing that the command line's run has paid for."""
    run = guarded.wait_for_end(guarded.start(f"label-dataset/{JOB}"))
    assert run["state"]["name"] == "Completed", run["state"]
    keys = {key.removeprefix(f"{JOB}-") for key in guarded.artifacts(run)}
    assert keys == {"report", "costs", "labels", "failures", "labeled", "page", "progress"}
    _, last = sorted((labeled / JOB / "runs").iterdir())
    record = json.loads((last / "run.json").read_text())
    assert (record["rows_total"], record["texts_asked"], record["requests"]) == (ROWS, 0, 0)
    assert int(ask_postgres(programs, port, "SELECT count(*) FROM flow_run")) >= 2
    assert not (guarded.home / "prefect.db").exists()


def test_what_comes_next_is_triggered(guarded, labeled):
    """Events and automations work on PostgreSQL and with a password: the example reads the labeled dataset."""
    guarded.wait_for("summarize-labeled", "Completed", labeled_path=str(labeled / JOB / "labeled"))


def test_the_ui_asks_for_the_password(guarded, labeled, need):
    """The start page is a login; with the password a run is started from the form, whose fields stand in their order."""
    assert labeled
    with (
        open_browser(need("Chromium", "/usr/bin/chromium", "/usr/bin/chromium-browser")) as browser,
        open_page(browser) as page,
    ):
        page.goto(guarded.page)
        page.get_by_placeholder("admin:pass").fill("admin:wrong")
        page.get_by_role("button", name="Login").click()
        expect(page.locator("form p")).to_be_visible()
        expect(page.get_by_role("link", name="Deployments", exact=True)).to_have_count(0)
        page.get_by_placeholder("admin:pass").fill(AUTH)
        page.get_by_role("button", name="Login").click()
        page.get_by_role("link", name="Deployments", exact=True).click()
        page.get_by_role("link", name=JOB, exact=True).click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Custom run").click()
        expect(page.locator("label", has_text="retry_failed")).to_be_visible()
        titles = [
            title.removesuffix(" (Optional)") for title in page.locator("label:has(+ p)").all_inner_texts()
        ]
        above = ["max_cost_usd", "retry_failed", "rows", "model_base_url"]
        assert titles[:12] == [*above, "job", "Name", "Slug", "Source", "Path", "Text", "Storage", "Labels"]
        page.get_by_role("button", name="Submit").click()
        page.get_by_role("button", name="View run").click()
        page.wait_for_url(re.compile(r"/v2/runs/flow-run/"))
        run = guarded.wait_for_end({"id": page.url.split("/flow-run/")[1].split("?")[0]})
    assert run["state"]["name"] == "Completed", run["state"]
