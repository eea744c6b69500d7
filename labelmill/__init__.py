"""Labelmill labels Parquet datasets with a language model and keeps the bill.

`job` says what is wanted, `question` what is asked, `dataset` reads it and writes it back, `providers` are asked, `live` and
`batch` are the two ways to ask, `money` counts, `store` remembers, `run` holds it together, `report` tells, and `pipeline`
runs whole jobs. Nothing here knows of Prefect.
"""

from importlib.metadata import version

__version__ = version("labelmill")
