"""Packages of others that are loaded once one of their names is asked for.

A client brings the types of a whole API along, of which a chat completion needs a few: a third of the time to a first request.
These packages are imported without their `__init__`, so that their modules can be; whoever asks the package itself for a
name, at any time and in any thread, has all of it loaded and finds it as ever.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

PACKAGES = frozenset({"openai.types", "openai.types.graders", "openai.types.responses", "langsmith.types"})
"""Seen with `python -X importtime`: openai 3.54, 340 modules and 0.3 s; langsmith 0.15, 140 modules and 0.1 s."""


class _Deferring(Loader):
    """Loads a package when it is first asked for a name that it hasn't."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        names = vars(module)
        load = _Loading(self._loader, module)
        names["__getattr__"] = load.name
        names["__dir__"] = load.names


class _Loading:
    """The loading of one package, by the first thread that asks; others wait for it."""

    def __init__(self, loader: Loader, module: ModuleType) -> None:
        self._loader = loader
        self._module = module
        self._lock = threading.RLock()
        self._has_begun = False

    def name(self, name: str) -> Any:
        """What a name stands for: the package's `__getattr__` until it is loaded."""
        self._load()
        try:
            return vars(self._module)[name]
        except KeyError:
            own: Callable[[str], Any] | None = vars(self._module).get("__getattr__")
            if own is not None and own != self.name:
                return own(name)
            sentence = f"module {self._module.__name__!r} has no attribute {name!r}"
            raise AttributeError(sentence, name=name, obj=self._module) from None

    def names(self) -> list[str]:
        """All of its names: its `__dir__` until it is loaded."""
        self._load()
        return sorted(vars(self._module))

    def _load(self) -> None:
        with self._lock:
            if self._has_begun:  # by this thread, from within the package: it sees what there is by now
                return
            self._has_begun = True
            try:
                self._loader.exec_module(self._module)
            except BaseException:
                self._has_begun = False
                raise
            names = vars(self._module)
            for hook, ours in (("__getattr__", self.name), ("__dir__", self.names)):
                if names.get(hook) == ours:
                    del names[hook]


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in PACKAGES else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Deferring(spec.loader)
        return spec


def defer() -> None:
    """From here on, load those of the packages that are not there yet when they are asked for. A second call does nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
