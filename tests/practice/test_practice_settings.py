"""Settings are checked, and the dice they load are fair and repeatable."""

import json
import statistics
from pathlib import Path

import pytest
from pydantic import ValidationError

from practice import FaultKind, PracticeSettings
from practice.dice import fault_of, latency_of, text_key_of
from practice.settings import BatchOutcome, BatchStep, StepFault

KEYS = [text_key_of(f"text {number}") for number in range(2000)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency": 1},
        {"latency_seconds": -1},
        {"requests_per_minute": 0},
        {"faults": {"flood": 0.1}},
        {"faults": {"empty": 1.1}},
        {"faults": {"empty": 0.6, "hang": 0.5}},
        {"stubborn_faults": {"empty": 0.6, "hang": 0.5}},
    ],
)
def test_wrong_settings_are_refused(wrong):
    """Unknown names, impossible numbers and fractions above one are errors."""
    with pytest.raises(ValidationError):
        PracticeSettings(**wrong)


def test_settings_survive_json():
    """Settings written as JSON read back the same."""
    settings = PracticeSettings(faults={FaultKind.EMPTY: 0.5}, known_models=("a", "b"), latency_seconds=0.1)
    assert PracticeSettings.model_validate_json(settings.model_dump_json()) == settings


def test_faults_strike_first_attempts_at_their_rate():
    """A fault meets its share of the texts, once each, whatever order the settings name faults in."""
    faults = {FaultKind.EMPTY: 0.2, FaultKind.RATE_LIMITED: 0.1}
    settings = PracticeSettings(faults=faults)
    turned = PracticeSettings(faults=dict(reversed(faults.items())))
    struck = [fault_of(settings, key, 1) for key in KEYS]
    assert struck == [fault_of(turned, key, 1) for key in KEYS]
    assert struck.count(FaultKind.EMPTY) == pytest.approx(400, abs=80)
    assert struck.count(FaultKind.RATE_LIMITED) == pytest.approx(200, abs=60)
    assert all(fault_of(settings, key, 2) is None for key in KEYS)


def test_stubborn_faults_strike_every_attempt():
    """A text with a stubborn fault never gets past it; another seed chooses other texts."""
    settings = PracticeSettings(stubborn_faults={FaultKind.EMPTY: 0.1})
    struck = {key for key in KEYS if fault_of(settings, key, 1)}
    assert struck == {key for key in KEYS if fault_of(settings, key, 7)}
    assert len(struck) == pytest.approx(200, abs=60)
    reseeded = settings.model_copy(update={"seed": 1})
    assert struck != {key for key in KEYS if fault_of(reseeded, key, 1)}


def test_latency_keeps_its_mean_and_repeats():
    """Delays spread around the mean that was asked for, and the same attempt always waits the same."""
    settings = PracticeSettings(latency_seconds=0.3, latency_sigma=0.8)
    delays = [latency_of(settings, key, 1) for key in KEYS]
    assert delays == [latency_of(settings, key, 1) for key in KEYS]
    assert statistics.mean(delays) == pytest.approx(0.3, rel=0.1)
    assert statistics.median(delays) == pytest.approx(0.3 * 2.718281828 ** (-0.32), rel=0.1)
    assert latency_of(settings, KEYS[0], 2) != delays[0]
    assert latency_of(PracticeSettings(latency_seconds=0.3), KEYS[0], 1) == 0.3


def test_docs_practice_md_lists_every_setting():
    """Each setting stands there with its default and its docstring, and so does each name that a table may hold."""
    page = (Path(__file__).parents[2] / "docs" / "practice.md").read_text(encoding="utf-8")
    for name, field in PracticeSettings.model_json_schema()["properties"].items():
        default = "" if field.get("default") is None else f"`{json.dumps(field['default'])}`"
        assert f"| `{name}` | {default} | {' '.join(field['description'].split())} |" in page
    for kind in (*FaultKind, *BatchOutcome, *BatchStep, *StepFault):
        assert f"`{kind.value}`" in page
