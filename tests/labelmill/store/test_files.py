"""Files that are whole or not there, whatever happens while they are written."""

import os
import subprocess
import sys
import threading

import polars as pl
import pytest

from labelmill.store.files import fault_of_parquet, temporaries_in, write_text_whole, written_whole

DIE_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from labelmill.store.files import written_whole

with written_whole(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names_in(folder):
    """All files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_under_its_name(tmp_path):
    """Until the block ends there is only a hidden temporary file beside it; afterwards only the file."""
    path = tmp_path / "deep" / "er" / "a.txt"
    with written_whole(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert not temporary.match("*.txt")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names_in(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_when_writing_fails_nothing_changes(tmp_path, error):
    """The old file stays as it was, and no temporary one is left."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with written_whole(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    """A file that was never written doesn't pass for one, and the old one stays."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), written_whole(path):
        pass
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    """Readers that look for the file by name or ending never see the half-written one."""
    path = tmp_path / "a.parquet"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", DIE_WHILE_WRITING, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"
    assert list(tmp_path.glob("*.parquet")) == [path]
    with written_whole(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_a_reader_sees_one_file_or_the_other_and_never_a_part(tmp_path):
    """While a file is replaced again and again, every reading is one whole version."""
    path = tmp_path / "a.txt"
    versions = [str(number) * 50_000 for number in range(10)]
    write_text_whole(path, versions[0])
    seen, done = set(), threading.Event()

    def read():
        seen.add(path.read_text())
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        write_text_whole(path, version)
    done.set()
    reader.join()
    assert set() < seen <= set(versions)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_an_error(tmp_path):
    """Where nothing can be written, nothing is, and the error says so."""
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), written_whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    tmp_path.chmod(0o700)
    assert names_in(tmp_path) == []


def test_a_file_in_the_folders_place_is_an_error(tmp_path):
    """A path that leads through a file can't be written, and the file stays."""
    (tmp_path / "a").write_text("file")
    with pytest.raises(OSError, match="a"):
        write_text_whole(tmp_path / "a" / "b.txt", "x")
    assert (tmp_path / "a").read_text() == "file"


def test_any_text_can_be_written(tmp_path):
    """Lone surrogates become question marks; everything else is UTF-8 as it was, line breaks and NULs included."""
    path = tmp_path / "a.txt"
    write_text_whole(path, "a\ud800b\r\n\x00技术\u202e")
    assert path.read_bytes() == "a?b\r\n\x00技术\u202e".encode()


def test_a_dead_process_own_temporary_files_are_found_and_no_one_elses(tmp_path):
    """By the name that they alone have; where a folder may be anyone's, by the names that are written there."""
    path = tmp_path / "a.parquet"
    done = subprocess.run([sys.executable, "-c", DIE_WHILE_WRITING, str(path)], check=False)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    for name in (
        "a.tmp",
        ".a.tmp",
        ".a.parquet.x1.tmp",
        ".12.tmp",
        "a.parquet.12.tmp",
        ".a.parquet.12.tmp.bak",
    ):
        (tmp_path / name).touch()
    assert temporaries_in(tmp_path) == [left]
    assert temporaries_in(tmp_path, r"a\.parquet") == [left]
    assert temporaries_in(tmp_path, "b") == []
    assert temporaries_in(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["x" * 255, "技" * 85, "é" * 120 + ".parquet"])
def test_a_name_as_long_as_the_file_system_takes_can_be_written(tmp_path, name):
    """The temporary file's name is no longer for it, beside the file and elsewhere, and is known for one of ours."""
    write_text_whole(tmp_path / name, "whole")
    assert names_in(tmp_path) == [name]
    with written_whole(tmp_path / name, tmp_path / "scratch") as temporary:
        temporary.write_text("new")
        assert temporaries_in(tmp_path / "scratch") == [temporary]
        assert len(os.fsencode(temporary.name)) < 143
    assert (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize(
    ("kept", "fault"),
    [
        (slice(0), "it is empty"),
        (slice(3), "it is not a Parquet file"),
        (slice(4), "it was cut off"),
        (slice(60), "it was cut off"),
        (slice(-1), "it was cut off"),
        (slice(5, None), "it is not a Parquet file"),
        (slice(None), None),
    ],
)
def test_a_parquet_file_that_is_not_whole_is_known_by_its_ends(tmp_path, kept, fault):
    """Without reading what is in it."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": range(100)}).write_parquet(path)
    path.write_bytes(path.read_bytes()[kept])
    assert fault_of_parquet(path) == fault


def test_a_parquet_file_of_which_the_middle_is_gone_was_cut_off(tmp_path):
    """Its end tells of more than there is."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": range(100)}).write_parquet(path)
    path.write_bytes(b"PAR1" + path.read_bytes()[-8:])
    assert fault_of_parquet(path) == "it was cut off"
