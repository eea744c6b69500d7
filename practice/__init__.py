"""The practice provider: a server on loopback that speaks as model providers do and is not a language model.

It lets Labelmill be tried, tested and measured without a key and without cost: real clients talk to it
over real HTTP, and it can be as slow, as strict and as faulty as a real provider, the same way every time.
`python -m practice` starts it. Whoever needs a model talks to it over HTTP: nothing of the product imports it.
"""

from practice.settings import FaultKind, PracticeSettings

__all__ = ["FaultKind", "PracticeSettings"]
