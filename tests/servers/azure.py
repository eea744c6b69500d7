"""A resource of Azure OpenAI: two addresses, a key in a header of its own, deployments, and files that are looked through first.

As Microsoft documents it: https://learn.microsoft.com/azure/foundry/openai/how-to/batch,
https://learn.microsoft.com/azure/foundry/openai/reference. An upload that a part of it doesn't know yet is one that people
have met (404), and so are the words about a file that isn't processed
(https://learn.microsoft.com/answers/questions/2203029).
"""

from collections import Counter

from servers.base import Reply
from servers.stand_in import Dialect, StandIn

API_VERSIONS = ("2024-10-21", "2025-03-01-preview")


def azure_error(status, message, code=None):
    """An error in Azure's shape: the code is a word, or the status as text."""
    return Reply(status, {"error": {"code": code or str(status), "message": message}})


FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"hate": {"filtered": True}},
        },
    }
}
"""https://learn.microsoft.com/azure/foundry/openai/concepts/content-filter."""


class Azure(StandIn):
    """A resource with a deployment for live requests, and one of the type Global Batch.

    An upload is unknown at its first `unknown_looks`, and `pending` at as many more as `pending_looks`. `unknown_makings` of the
    requests for a batch meet a part that doesn't know the file.
    """

    live_deployment, batch_deployment = "labels", "labels-batch"

    def __init__(self, *, model="gpt-4o-mini-2024-07-18", rates=(0.15, 0.6), api_version=None):
        path = "/openai" if api_version else "/openai/v1"
        super().__init__(
            Dialect(
                rates,
                path=path,
                key_header="api-key",
                error=azure_error,
                model=model,
                batches="/chat/completions",
                usage=lambda sent, answered: {
                    "prompt_tokens": sent,
                    "completion_tokens": answered,
                    "total_tokens": sent + answered,
                    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 0},
                },
            )
        )
        self.api_version = api_version
        self.unknown_looks = self.pending_looks = self.unknown_makings = 0
        self.file_error, self.filtered = None, frozenset()
        self.looks, self.makings = Counter(), 0

    def turned_away(self, path, query, headers):
        """Also a request of the older address without a version that is known."""
        wrong = super().turned_away(path, query, headers)
        if wrong is None and self.api_version and query.get("api-version") != self.api_version:
            return azure_error(404, "Resource not found")
        return wrong

    def respond(self, method, path, query, headers, raw):
        """At the older address, what is asked of a deployment has its name in the path."""
        if self.api_version:
            before, mark, rest = path.partition("/deployments/")
            name, _, asked = rest.partition("/")
            if mark and name != self.live_deployment:
                return azure_error(
                    404, "The API deployment for this resource does not exist.", "DeploymentNotFound"
                )
            if asked == "chat/completions":
                path = f"{before}/{asked}"
            elif path.endswith("/chat/completions"):
                return azure_error(404, "Resource not found")
        return super().respond(method, path, query, headers, raw)

    def refusal_of(self, body):
        """Also a deployment that is not there."""
        known = {self.live_deployment, self.batch_deployment}
        if body["model"] not in known:
            return azure_error(
                404, "The API deployment for this resource does not exist.", "DeploymentNotFound"
            )
        if body["messages"][1]["content"] in self.filtered:
            return Reply(400, FILTERED)
        return super().refusal_of(body)

    def chat(self, body):
        """A deployment of the type Global Batch has no live requests."""
        if body["model"] == self.batch_deployment:
            return azure_error(
                400,
                "The chatCompletion operation does not work with this deployment",
                "OperationNotSupported",
            )
        return super().chat(body)

    def answered(self, call):
        """With what the content filter says."""
        reply = super().answered(call)
        safe = {"hate": {"filtered": False, "severity": "safe"}}
        reply.body["choices"][0]["content_filter_results"] = safe
        reply.body["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": safe}]
        return reply

    def upload(self, raw):
        """An upload that isn't looked through yet."""
        reply = super().upload(raw)
        if self.pending_looks or self.unknown_looks or self.file_error:
            self.files[reply.body["id"]]["status"] = "pending"
            reply.body["status"] = "pending"
        return reply

    def look_at(self, file_id):
        """Unknown at first, then pending, then processed; or wrong."""
        self.looks[file_id] += 1
        if self.looks[file_id] <= self.unknown_looks:
            return azure_error(404, f"No file found with id '{file_id}'.")
        if self.looks[file_id] > self.unknown_looks + self.pending_looks:
            self.files[file_id]["status"] = "error" if self.file_error else "processed"
        reply = super().look_at(file_id)
        return Reply(200, {**reply.body, "status_details": self.file_error})

    def make(self, asked):
        """Refused as long as the file isn't processed, or isn't known everywhere."""
        self.makings += 1
        file_id = asked["input_file_id"]
        if self.makings <= self.unknown_makings:
            return azure_error(404, f"No file found with id '{file_id}'.")
        if self.files[file_id]["status"] != "processed":
            state = self.files[file_id]["status"]
            words = f"The input file '{file_id}' is in '{state}' state. Only files with status 'Processed' are accepted"
            return azure_error(400, words, "invalidPayload")
        return super().make(asked)

    def row(self, request):
        """A batch goes to a deployment of its own type."""
        if request["body"]["model"] != self.batch_deployment:
            words = "The deployment is not of the type Global Batch"
            return 400, azure_error(400, words, "model_mismatch").body
        return super().row(request)
