"""The batch lane: a run's work through the provider's Batch API, at its lower price."""
