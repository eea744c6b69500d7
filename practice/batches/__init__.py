"""OpenAI's Batch API: files of requests, answered later."""
