"""Servers of raw sockets: what they answer is bytes, right or wrong."""

import http.client
import re


def request_of(connection):
    """A whole request: to close on an unread rest would reset the connection."""
    read = b""
    while b"\r\n\r\n" not in read and (piece := connection.recv(65_536)):
        read += piece
    head, _, body = read.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    while length and len(body) < int(length[1]) and (piece := connection.recv(65_536)):
        body += piece
    return head.decode()


def says(answer):
    """A handler that reads a request and answers bytes."""

    def handle(connection):
        request_of(connection)
        connection.sendall(answer)

    return handle


def replies_at_once(answer):
    """A handler that answers bytes to the first that it reads, be it a request or not."""

    def handle(connection):
        connection.recv(65_536)
        connection.sendall(answer)

    return handle


def http_reply(status, body="", kind="application/json"):
    """An HTTP response as bytes."""
    raw = body.encode()
    reason = http.client.responses[status]
    head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: {kind}\r\ncontent-length: {len(raw)}\r\nconnection: close\r\n\r\n"
    return head.encode() + raw
