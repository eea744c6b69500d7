"""The labeled dataset as an asset: its key, its metadata, and the events around it."""

import pytest
from prefect.assets import Asset

from tasks.asset import LONGEST_KEY, asset_key_of


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/srv/labelmill/news/labeled", "file:///srv/labelmill/news/labeled"),
        ("/srv/新闻/labeled", "file:///srv/新闻/labeled"),
    ],
)
def test_the_key_is_the_path(path, key):
    """A path that Prefect allows in a key is the key."""
    assert asset_key_of(path) == Asset(key=key).key == key


def test_a_path_that_can_not_be_a_key_gets_one_of_its_own():
    """Spaces, marks and great length are taken out, and two such paths still have two keys."""
    paths = [
        "/srv/my news/labeled",
        "/srv/my#news/labeled",
        f"/srv/{'x' * 600}/labeled",
        f"/srv/{'x' * 601}/labeled",
    ]
    keys = {asset_key_of(path) for path in paths}
    assert len(keys) == len(paths)
    for key in keys:
        assert Asset(key=key)
        assert len(key) <= LONGEST_KEY
