"""A stand-in for Google Cloud Storage: its XML API as far as obstore and Polars speak it, conditions on generations included.

Source: <https://cloud.google.com/storage/docs/xml-api/overview>.
"""

import hashlib
import itertools
import re
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from servers.base import serving

PAGE = 1000


class GcsServer(ThreadingHTTPServer):
    """Buckets come into being when something is put into them. `objects` are (content, generation) by bucket and key."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.objects, self.uploads = {}, {}
        self.lock, self.generations = threading.Lock(), itertools.count(1)


def gcs():
    """Let one answer, for the length of a block."""
    return serving(GcsServer())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.body = b""

    def parse_request(self):
        """Read the whole request, so that the connection can go on."""
        is_one = super().parse_request()
        if is_one:
            self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = urlsplit(self.path)
            bucket, _, key = parts.path.lstrip("/").partition("/")
            self.name = (unquote(bucket), unquote(key))
            self.query = {name: values[0] for name, values in parse_qs(parts.query, True).items()}
        return is_one

    def do_GET(self):
        if not self.name[1]:
            self._list()
            return
        found = self.server.objects.get(self.name)
        if found is None:
            self._send(404)
            return
        content, wanted = found[0], self.headers.get("range")
        if wanted is None:
            self._send(200, content, found)
            return
        first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted).groups()
        begin = int(first) if first else max(0, len(content) - int(last))
        end = min(len(content), int(last) + 1) if first and last else len(content)
        told = {"Content-Range": f"bytes {begin}-{end - 1}/{len(content)}"}
        self._send(206, content[begin:end], found, told)

    do_HEAD = do_GET  # noqa: N815  (as the standard library calls them)

    def do_PUT(self):
        if "uploadId" in self.query:
            self.server.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = self.body
            self._send(200, headers={"ETag": f'"{hashlib.sha256(self.body).hexdigest()}"'})
        else:
            self._put(self.body)

    def do_POST(self):
        if "uploads" in self.query:
            upload = f"upload-{next(self.server.generations)}"
            self.server.uploads[upload] = {}
            self._xml(
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
            return
        parts = self.server.uploads.pop(self.query["uploadId"])
        self._put(b"".join(parts[number] for number in sorted(parts)), is_multipart=True)

    def do_DELETE(self):
        with self.server.lock:
            self._send(404 if self.server.objects.pop(self.name, None) is None else 204)

    def _put(self, content, *, is_multipart=False):
        with self.server.lock:
            wanted = self.headers.get("x-goog-if-generation-match")
            there = self.server.objects.get(self.name, (b"", 0))[1]
            if wanted is not None and int(wanted) != there:
                self._send(412)
                return
            put = self.server.objects[self.name] = (content, next(self.server.generations))
        if is_multipart:
            tag = escape(_headers_of(put)["ETag"])
            self._xml(
                f"<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>", put
            )
        else:
            self._send(200, b"", put)

    def _list(self):
        prefix, after = self.query.get("prefix", ""), self.query.get("continuation-token", "")
        found = sorted(
            (key, content)
            for (bucket, key), (content, _) in list(self.server.objects.items())
            if bucket == self.name[0] and key.startswith(prefix) and key > after
        )
        page = found[:PAGE]
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
            f"<ETag>{escape(_headers_of((content, 0))['ETag'])}</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, content in page
        )
        more = f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>" if found[PAGE:] else ""
        self._xml(f"<ListBucketResult>{entries}{more}</ListBucketResult>")

    def _xml(self, told, put=None):
        self._send(200, f'<?xml version="1.0" encoding="UTF-8"?>{told}'.encode(), put)

    def _send(self, status, body=b"", put=None, headers=None):
        self.send_response(status)
        for name, value in {**(_headers_of(put) if put else {}), **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


def _headers_of(put):
    content, generation = put
    return {
        "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
        "x-goog-generation": str(generation),
        "Last-Modified": formatdate(usegmt=True),
    }
