"""docs/python.md: what it shows runs as it stands there and prints what it says."""

import re
from pathlib import Path

import pytest

from labelmill.dataset.columns import LABEL_COLUMNS

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_examples_of_the_page_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    """In a folder of their own, without a key, and each prints what stands below it."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for code, printed in EXAMPLES:
        exec(compile(code, "docs/python.md", "exec"), names)  # noqa: S102  (the page's own)
        assert capsys.readouterr().out == printed


def test_no_example_goes_untested():
    """Each block of code is followed by what it prints, and the label columns are all there."""
    assert len(EXAMPLES) == PAGE.count("```python\n") == 6
    assert all(f"`{name}`" in PAGE for name in LABEL_COLUMNS)
