"""The practice provider: an OpenAI-compatible server on loopback that is not a language model.

It lets Labelmill be tried, tested and measured without a key and without cost: real clients talk to it
over real HTTP, and it can be as slow, as strict and as faulty as a real provider, the same way every time.
"""

from practice.launch import PracticeServer, start_practice
from practice.settings import FaultKind, PracticeSettings

__all__ = ["FaultKind", "PracticeServer", "PracticeSettings", "start_practice"]
