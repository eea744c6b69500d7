"""Labelmill labels Parquet datasets with a language model and keeps the bill.

`job` says what is wanted, `dataset` reads it and writes it back, `model` asks, `money` counts, `store` remembers,
`report` tells, `practice` stands in for a provider. Nothing here knows of Prefect.
"""

from importlib.metadata import version

__version__ = version("labelmill")
