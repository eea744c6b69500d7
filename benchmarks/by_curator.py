"""The benchmarks' job by curator: a text to a label, one request each, nothing else of curator's used.

It is run by the Python that has curator (`make bench CURATOR=path/of/its/python`), never by Labelmill's own. What curator
would ask the network for is switched off before it is imported: telemetry (PostHog), the hosted viewer, litellm's prices from
GitHub (those in its package are taken), and tiktoken's encodings (those in litellm's package are taken). It still sends one
request without messages before all others, to read rate limits off the headers of the answer.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

IN_MEMORY_ONLY = {
    "TELEMETRY_ENABLED": "false",
    "CURATOR_VIEWER": "0",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
PER_MINUTE = 100_000_000
"""Requests and tokens a minute, which curator otherwise takes from headers or from a table of defaults: not what is measured."""


def main() -> None:
    """Label the headlines of a file, a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--texts", type=Path, required=True, help="a file with a text a line")
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--system", required=True)
    parser.add_argument("--label", help="the label that every text has to have")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update({**IN_MEMORY_ONLY, "HOME": folder, "CURATOR_CACHE_DIR": f"{folder}/curator"})
        texts = options.texts.read_text(encoding="utf-8").splitlines()
        labels = labeled(texts, options)
    is_right = len(labels) == len(texts) and (options.label is None or set(labels) == {options.label})
    if not is_right:
        sys.exit("not every text was labeled")


def labeled(texts: list[str], options: argparse.Namespace) -> list[str]:
    """Each text's label."""
    import litellm.litellm_core_utils.default_encoding  # noqa: F401  (names its encodings to tiktoken, before curator asks for one)
    from bespokelabs import curator

    class Labeler(curator.LLM):
        def prompt(self, input: dict) -> str:  # noqa: A002  (curator's own name)
            return input["text"]

        def parse(self, input: dict, response: str) -> dict:  # noqa: A002  (curator's own name)
            return {"text": input["text"], "label": response}

    labeler = Labeler(
        model_name=options.model,
        backend="openai",
        system_prompt=options.system,
        generation_params={"temperature": 0},
        backend_params={
            "base_url": options.base_url,
            "max_concurrent_requests": options.in_flight,
            "max_requests_per_minute": PER_MINUTE,
            "max_tokens_per_minute": PER_MINUTE,
        },
    )
    return list(labeler([{"text": text} for text in texts]).dataset["label"])


if __name__ == "__main__":
    main()
