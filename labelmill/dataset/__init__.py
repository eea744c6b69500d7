"""Parquet in, Parquet out: sources, texts, row keys, plans and merging."""

from labelmill.dataset.memory import give_memory_back

give_memory_back()
