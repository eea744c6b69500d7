"""Certificates are read once a process: every HTTP client would read some 140 of them anew, 20 to 60 ms long."""

import functools
import os
import ssl

import httpcore2


def share_certificates():
    """Let all clients of this process and of its forks share them; where the environment names others, those are read."""
    ssl.create_default_context = _once(ssl.create_default_context)
    httpcore2.default_ssl_context = _once(httpcore2.default_ssl_context)


def _once(make):
    @functools.cache
    def made(_, *given, **named):
        return make(*given, **named)

    @functools.wraps(make)
    def shared(*given, **named):
        told = tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
        return made(told, *given, **named)

    return shared
