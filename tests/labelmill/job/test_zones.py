"""Time zones as people write them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from labelmill.batch.deadline import next_deadline
from labelmill.job.zones import _named, zone_meant_by, zone_mistake, zone_notice


@pytest.mark.parametrize(
    "name", ["Asia/Beijing", "asia/beijing", "Beijing", "China Standard Time", "北京时间", "北京"]
)
def test_beijing_is_shanghai(name):
    """The zone that the database names after Shanghai goes by Beijing's name too, and that is said."""
    assert zone_meant_by(name) == "Asia/Shanghai"
    assert zone_mistake(name) is None
    assert zone_notice(name) == f"the time zone {name!r} is called 'Asia/Shanghai', and is taken for it"
    assert next_deadline(datetime(2026, 3, 1, tzinfo=UTC), "08:30", name) == datetime(
        2026, 3, 1, 0, 30, tzinfo=UTC
    )


@pytest.mark.parametrize("name", ["UTC", "Asia/Shanghai", "PRC", "Etc/GMT-8"])
def test_a_zone_of_the_database_is_itself(name):
    """What the database knows is taken as it stands, without a word."""
    assert (zone_meant_by(name), zone_mistake(name), zone_notice(name)) == (name, None, None)


def test_every_zone_of_the_table_is_there():
    """Each name of the data leads to a zone that there is, and is no zone by itself."""
    for kind in ("same", "meant"):
        for other, zone in _named(kind).items():
            assert ZoneInfo(zone).key == zone
            assert other == " ".join(other.split()).casefold()
            assert zone_meant_by(other) in {zone, None}
