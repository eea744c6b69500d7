"""Asking a language model: prompt, chain, answers, failures, and the gate in front of it."""
