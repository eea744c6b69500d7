"""Service tiers: at which price an answer was served, by the word that its provider uses."""

from collections.abc import Mapping

STANDARD_TIERS = frozenset(
    {
        "",
        "auto",  # OpenAI, before it is decided: https://platform.openai.com/docs/api-reference/chat/create
        "default",
        "standard",  # Anthropic: https://platform.claude.com/docs/en/api/service-tiers
        "on_demand",  # Groq: https://console.groq.com/docs/service-tiers; Vertex AI's traffic type
        "unspecified",  # Gemini: https://ai.google.dev/api/generate-content
        "service_tier_unspecified",
        "traffic_type_unspecified",
    }
)
"""Tiers at the listed price. A tier that is in neither table has a price that nobody knows."""

CONTEXT_OF_TIER: Mapping[str, Mapping[str, str]] = {
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
    "flex": {"service_tier": "flex"},
    "batch": {"processing": "batch"},  # Anthropic's word for what came through its Batch API
    "on_demand_priority": {"service_tier": "priority"},  # Vertex AI's traffic types
    "on_demand_flex": {"service_tier": "flex"},
}
"""What tells genai-prices of a tier. It takes unknown words without a word of its own, and gives the standard price."""

STANDARD_BY_PROVIDER: Mapping[str, frozenset[str]] = {
    "groq": frozenset({"flex"}),  # https://console.groq.com/docs/flex-processing: at the on-demand price
}
"""Tiers that cost no more and no less with one provider, by its name in genai-prices."""


def tier_named(word: str | None) -> str:
    """A provider's word as the tables write it: `ON_DEMAND` and `on-demand` are one."""
    return (word or "").strip().casefold().replace("-", "_").replace(" ", "_")
