"""Providers that tell what an answer came to in shapes of their own, or answer with another model than the one asked."""

from dataclasses import replace

from servers.base import Endpoint, completion


def usage_shapes():
    """What is told of an answer, with what it says: input, cached input and output tokens. None: nothing is said.

    By name, each as the provider's own documentation or a report has it.
    """
    return {
        # https://platform.moonshot.ai/docs/api/chat
        "Moonshot": (
            {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102, "cached_tokens": 80},
            (100, 80, 2),
        ),
        # https://api-docs.deepseek.com/guides/kv_cache
        "DeepSeek": (
            {
                "prompt_tokens": 100,
                "completion_tokens": 2,
                "total_tokens": 102,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
            },
            (100, 64, 2),
        ),
        # Gemini's OpenAI interface: thoughts are in the total alone
        "reasoning outside": (
            {
                "prompt_tokens": 21,
                "completion_tokens": 0,
                "total_tokens": 81,
                "completion_tokens_details": {"reasoning_tokens": 60},
            },
            (21, 0, 60),
        ),
        "the total has more": (
            {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 1602},
            (100, 0, 1502),
        ),
        "OpenAI, cached": (
            {
                "prompt_tokens": 1200,
                "completion_tokens": 2,
                "total_tokens": 1202,
                "prompt_tokens_details": {"cached_tokens": 1024},
            },
            (1200, 1024, 2),
        ),
        "the total only": ({"total_tokens": 102}, None),
        "none": ({}, None),
        "zeros": ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        "below zero": ({"prompt_tokens": 100, "completion_tokens": -2, "total_tokens": 98}, None),
    }


class Billing(Endpoint):
    """Answers rightly, and tells the tokens in one of the shapes."""

    def __init__(self, usage, counts, *, tier=None):
        super().__init__()
        self.usage, self.counts, self.tier = usage, counts, tier

    def reply(self, call):
        """The label with a bill of this shape."""
        reply = completion(call)
        body = {**reply.body, "usage": self.usage, **({"service_tier": self.tier} if self.tier else {})}
        if self.counts is None:
            return replace(reply, body=body, told=False)
        return replace(reply, body=body, billed=(self.counts[0], self.counts[2]))


class Dearer(Endpoint):
    """A deployment that is named after one model and answers with another, as Azure's may."""

    def __init__(self, model="gpt-4o-2024-08-06"):
        super().__init__()
        self.model = model

    def reply(self, call):
        """The label by the other model."""
        return completion(call, model=self.model)
