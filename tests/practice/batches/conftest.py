"""Sending batches with OpenAI's own client, and reading what they leave."""

import json
import time

import openai
import pytest

ENDPOINT = "/v1/chat/completions"
SYSTEM = "Answer with exactly one of these labels:\n- 技术: 软件、芯片\n- 体育: 足球、比赛"
FINAL = ("completed", "failed", "expired", "cancelled")


class Sender:
    """A client of the Batch API."""

    def __init__(self, client: openai.OpenAI) -> None:
        self.client = client

    @staticmethod
    def row(number, text, **body):
        """A line of a batch's input."""
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        return {
            "custom_id": f"row-{number}",
            "method": "POST",
            "url": ENDPOINT,
            "body": {"model": "m", "messages": messages} | body,
        }

    def rows(self, texts, **body):
        """A line for each text."""
        return [self.row(number, text, **body) for number, text in enumerate(texts)]

    def upload(self, lines):
        """An input file of these lines; bytes are sent as they are."""
        written = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode
        content = lines if isinstance(lines, bytes) else written()
        return self.client.files.create(file=("input.jsonl", content), purpose="batch")

    def send(self, lines, **options):
        """A new batch."""
        file_id = options.pop("input_file_id", None) or self.upload(lines).id
        asked = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"} | options
        return self.client.batches.create(**asked)

    def finish(self, lines, **options):
        """A batch that has ended."""
        return self.wait(self.send(lines, **options).id)

    def wait(self, batch_id, statuses=FINAL):
        """The batch once it has one of these statuses."""
        deadline = time.monotonic() + 30
        while (batch := self.client.batches.retrieve(batch_id)).status not in statuses:
            assert time.monotonic() < deadline, batch
            time.sleep(0.02)
        return batch

    def read(self, file_id):
        """The lines of a file by custom_id, in their order; nothing for no file."""
        if file_id is None:
            return {}
        found = [json.loads(line) for line in self.client.files.content(file_id).text.splitlines()]
        assert len({line["custom_id"] for line in found}) == len(found)
        return {line["custom_id"]: line for line in found}

    def labels(self, batch):
        """The answers of a batch by custom_id."""
        lines = self.read(batch.output_file_id)
        return {
            name: line["response"]["body"]["choices"][0]["message"]["content"] for name, line in lines.items()
        }


@pytest.fixture
def sender(client):
    """A client of the shared server."""
    return Sender(client)


@pytest.fixture
def sender_to():
    """A client of any server."""
    opened = []

    def made(server):
        client = openai.OpenAI(base_url=server.base_url, api_key="practice", max_retries=0, timeout=20)
        opened.append(client)
        return Sender(client)

    yield made
    for client in opened:
        client.close()
