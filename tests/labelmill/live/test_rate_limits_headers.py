"""Rate limits in headers."""

import pytest

from labelmill.live.rate_limits import Announced, RateHeaders, rate_headers_of


def test_announced_limits_are_read():
    """Requests and tokens are read from their own headers."""
    headers = {
        "x-ratelimit-limit-requests": "1200",
        "x-ratelimit-remaining-requests": "1199",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-tokens": "199500.5",
    }
    assert rate_headers_of(headers) == RateHeaders(Announced(1200, 1199), Announced(200_000, 199_500.5))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-limit-requests": "many", "x-ratelimit-remaining-requests": "1"},
        {"x-ratelimit-limit-requests": "10"},
        {"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0"},
    ],
)
def test_what_can_not_be_read_announces_nothing(headers):
    """Missing, unreadable and nonsensical headers count as none."""
    assert rate_headers_of(headers) == RateHeaders(None, None)
