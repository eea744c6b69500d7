"""Files and batches: what is kept of them, in a folder, over restarts when the folder is."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, NonNegativeFloat

CHAT = "/v1/chat/completions"
"""The endpoint of OpenAI's batches, and the one they may be for."""

DAY_SECONDS = 24 * 60 * 60
FILE_LIFE_SECONDS = 30 * DAY_SECONDS
"""How long OpenAI keeps the files of batches."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Record):
    """A file that was uploaded, or that a batch left."""

    id: str
    filename: str
    purpose: str
    bytes: int
    created_at: float
    expires_at: float | None

    def body(self) -> dict[str, Any]:
        """The file as OpenAI describes it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": int(self.created_at),
            "expires_at": None if self.expires_at is None else int(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Mistake(_Record):
    """Why a batch failed; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Checked(_Record):
    """What reading the input showed."""

    total: int = 0
    model: str | None = None
    input_tokens: int = 0
    mistakes: tuple[Mistake, ...] = ()


class Bill(_Record):
    """The rows of a batch that were answered with 200, and their tokens."""

    rows: int = 0
    rows_missing: int = 0
    """Of these rows, the ones that stand in no file."""
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    unseen_input_tokens: int = 0
    """Of these tokens, the ones of rows that stand in no file or don't tell their tokens."""
    unseen_output_tokens: int = 0


class Ended(_Record):
    """The results of a batch, once they are made: from then on nothing changes them."""

    status: str
    ended_at: float
    output_file_id: str | None = None
    error_file_id: str | None = None
    failed: int = 0
    bill: Bill = Bill()


class BatchRecord(_Record):
    """A batch: what was asked, and what has become of it so far."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: dict[str, str] | None
    output_life_seconds: NonNegativeFloat
    created_at: float
    cancel_asked_at: float | None = None
    deleted: bool = False
    """Nobody is told of it any more, but for the totals."""
    checked: Checked | None = None
    ended: Ended | None = None


_TEXT_KEY_BYTES = 16


class BatchStore:
    """All files and batches of one server.

    Records are small and held in memory too; contents are on disk only. One server at a time per folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self._kept = folder
        self._temporary: Path | None = None
        self._files: dict[str, FileRecord] = {}
        self._batches: dict[str, BatchRecord] = {}
        self._latest = 0.0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._load(folder)

    def add_file(
        self, source: Path, filename: str, purpose: str, life_seconds: float | None, now: float
    ) -> FileRecord:
        """Take over a written file, which must lie in `scratch`; `now` is wall clock."""
        file_id = f"file-practice-{uuid4().hex}"
        created_at = self._next_moment(now)
        record = FileRecord(
            id=file_id,
            filename=filename,
            purpose=purpose,
            bytes=source.stat().st_size,
            created_at=created_at,
            expires_at=None if life_seconds is None else created_at + life_seconds,
        )
        source.replace(self.content_path(file_id))
        self._write(self._root() / "files" / f"{file_id}.json", record)
        self._files[file_id] = record
        return record

    def file(self, file_id: str) -> FileRecord | None:
        """A file that is there and has not expired."""
        record = self._files.get(file_id)
        gone = record is None or (record.expires_at is not None and record.expires_at <= time.time())
        return None if gone else record

    def files(self) -> list[FileRecord]:
        """All files, newest first."""
        found = (self.file(file_id) for file_id in self._files)
        return sorted((one for one in found if one is not None), key=lambda one: -one.created_at)

    def delete_file(self, file_id: str) -> None:
        """Forget a file; batches that were made from it keep their input."""
        del self._files[file_id]
        (self._root() / "files" / f"{file_id}.json").unlink(missing_ok=True)
        self.content_path(file_id).unlink(missing_ok=True)

    def content_path(self, file_id: str) -> Path:
        """Where the bytes of a file lie."""
        return self._root() / "files" / f"{file_id}.content"

    def add_batch(self, record: BatchRecord) -> BatchRecord:
        """Keep a new batch, and its input as it is now."""
        record = record.model_copy(update={"created_at": self._next_moment(record.created_at)})
        os.link(self.content_path(record.input_file_id), self.input_path(record.id))
        self.save_batch(record)
        return record

    def save_batch(self, record: BatchRecord) -> None:
        """Replace what is known of a batch; once it has ended its input is no longer needed."""
        self._write(self._root() / "batches" / f"{record.id}.json", record)
        self._batches[record.id] = record
        if record.ended is not None:
            self.input_path(record.id).unlink(missing_ok=True)

    def batch(self, batch_id: str) -> BatchRecord | None:
        """A batch by its id."""
        return self._batches.get(batch_id)

    def batches(self) -> list[BatchRecord]:
        """All batches, newest first."""
        return sorted(self._batches.values(), key=lambda one: -one.created_at)

    def input_path(self, batch_id: str) -> Path:
        """The input of a batch that has not ended."""
        return self._root() / "batches" / f"{batch_id}.input"

    def save_texts(self, batch_id: str, texts: Iterable[tuple[str, bool]]) -> None:
        """Keep which texts a batch asked, and whether each got a sound answer."""
        packed = b"".join(bytes.fromhex(key) + bytes([is_sound]) for key, is_sound in texts)
        (self._root() / "batches" / f"{batch_id}.texts").write_bytes(packed)

    def texts(self, batch_id: str) -> list[tuple[str, bool]]:
        """What `save_texts` kept."""
        path = self._root() / "batches" / f"{batch_id}.texts"
        packed = path.read_bytes() if path.exists() else b""
        step = _TEXT_KEY_BYTES + 1
        pieces = (packed[start : start + step] for start in range(0, len(packed), step))
        return [(piece[:-1].hex(), bool(piece[-1])) for piece in pieces]

    def scratch(self) -> Path:
        """A name for a file to be written, on the same disk as all others."""
        return self._root() / "files" / f"{uuid4().hex}.part"

    def keep(self, source: BinaryIO) -> Path:
        """Write a stream to a scratch file, a piece at a time."""
        path = self.scratch()
        with path.open("wb") as target:
            shutil.copyfileobj(source, target)
        return path

    def clear(self) -> None:
        """Forget everything, on disk too."""
        if self._kept is not None or self._temporary is not None:
            for part in ("files", "batches"):
                shutil.rmtree(self._root() / part, ignore_errors=True)
        self._files.clear()
        self._batches.clear()

    def close(self) -> None:
        """Remove the folder, unless it was named by the one who started the server."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def _root(self) -> Path:
        # A temporary folder is made when something is to be put there: most servers see no batch.
        if self._kept is None and self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="labelmill-practice-"))
        root = self._kept or self._temporary or Path()
        for part in ("files", "batches"):
            (root / part).mkdir(parents=True, exist_ok=True)
        return root

    def _load(self, folder: Path) -> None:
        for path in (folder / "files").glob("*.json"):
            file = FileRecord.model_validate_json(path.read_bytes())
            self._files[file.id] = file
        for path in (folder / "batches").glob("*.json"):
            batch = BatchRecord.model_validate_json(path.read_bytes())
            self._batches[batch.id] = batch
        # What a server was writing when it died.
        for path in (folder / "files").glob("*.part"):
            path.unlink()
        moments = [file.created_at for file in self._files.values()]
        moments += [batch.created_at for batch in self._batches.values()]
        self._latest = max(moments, default=0.0)

    def _next_moment(self, now: float) -> float:
        """Later than all before, so that the order of creation is never in doubt."""
        self._latest = max(now, self._latest + 1e-6)
        return self._latest

    @staticmethod
    def _write(path: Path, record: FileRecord | BatchRecord) -> None:
        part = path.with_suffix(".tmp")
        part.write_text(record.model_dump_json(), encoding="utf-8")
        part.replace(path)
