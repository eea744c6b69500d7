"""Files are uploaded, listed, read and deleted as OpenAI's are."""

import json
import urllib.request

import openai
import pytest

from practice import PracticeSettings

MONTH_SECONDS = 30 * 24 * 3600


def test_a_file_comes_back_as_it_went(client):
    """What is uploaded is what is downloaded, byte for byte."""
    content = b'{"a": "\xe6\x8a\x80"}\n' * 1000
    file = client.files.create(file=("input.jsonl", content), purpose="batch")
    assert (file.bytes, file.filename, file.purpose, file.status) == (
        len(content),
        "input.jsonl",
        "batch",
        "processed",
    )
    assert client.files.content(file.id).read() == content
    assert client.files.retrieve(file.id) == file


def test_files_of_batches_expire_in_a_month_or_when_asked(client):
    """The files of batches have OpenAI's life, another one on request, and others live on."""
    kept = client.files.create(file=("input.jsonl", b"{}"), purpose="batch")
    assert kept.expires_at - kept.created_at == MONTH_SECONDS
    policy = {"anchor": "created_at", "seconds": 7200}
    brief = client.files.create(file=("input.jsonl", b"{}"), purpose="batch", expires_after=policy)
    assert brief.expires_at - brief.created_at == 7200
    assert client.files.create(file=("notes.txt", b"x"), purpose="user_data").expires_at is None


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"purpose": "dinner"}, "purpose"),
        ({"file": ("input.txt", b"{}")}, "file"),
        ({"expires_after": {"anchor": "created_at", "seconds": 60}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now", "seconds": 7200}}, "expires_after.anchor"),
    ],
)
def test_a_wrong_upload_is_refused(client, practice, asked, name):
    """A purpose, a name or a life that may not be is 400 and names the parameter; nothing is kept."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(**{"file": ("input.jsonl", b"{}"), "purpose": "batch"} | asked)
    assert refused.value.param == name
    assert practice.totals()["files"] == 0


@pytest.mark.parametrize("body", [b"", b'{"purpose": "batch"}'])
def test_an_upload_that_is_no_form_is_refused(practice, body):
    """A body that is no multipart form is 400 with OpenAI's error body."""
    request = urllib.request.Request(f"{practice.base_url}/files", data=body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400
    assert "multipart" in json.load(refused.value)["error"]["message"]


def test_files_are_listed_newest_first(client):
    """Lists come newest first or oldest first, by purpose, and in pages."""
    made = [client.files.create(file=(f"{n}.jsonl", b"{}"), purpose="batch").id for n in range(5)]
    other = client.files.create(file=("notes.txt", b"x"), purpose="user_data").id
    assert [file.id for file in client.files.list()] == [other, *reversed(made)]
    assert [file.id for file in client.files.list(purpose="batch", order="asc")] == made
    page = client.files.list(limit=2, purpose="batch")
    assert ([file.id for file in page.data], page.has_more) == (made[:2:-1], True)
    assert [file.id for file in client.files.list(limit=2, purpose="batch")] == made[::-1]


def test_a_deleted_file_is_gone(client):
    """Once deleted, a file is 404 however it is asked for."""
    file = client.files.create(file=("input.jsonl", b"{}"), purpose="batch")
    assert client.files.delete(file.id).deleted
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            ask(file.id)


def test_files_need_the_key(client, practice):
    """Where a key is required, files are no way around it, whatever the size of the upload."""
    practice.configure(PracticeSettings(required_key="right"))
    with pytest.raises(openai.AuthenticationError):
        client.files.create(file=("input.jsonl", b"x" * 5_000_000), purpose="batch")
    with pytest.raises(openai.AuthenticationError):
        client.files.list()
    assert practice.totals()["files"] == 0
