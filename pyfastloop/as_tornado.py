"""Importing this module makes ``tornado`` mean pyfastloop, in this process.

For programs that are not to be changed: as the first line of a program, or by
``python -m pyfastloop --as-tornado script.py``. From then on ``import tornado.web`` is
``pyfastloop.web``, for every submodule, and ``tornado.version`` is the version whose
API this is. New asyncio loops are ours too, so that no program becomes a guest in
another loop.

It refuses where ``tornado`` was imported before, for half of a program would then hold
the other classes. :func:`uninstall` takes it back, for tests.

Processes that the program starts are their own: the import alone does not reach them,
:func:`include_children` does (the kernels of Jupyter, the workers of Dask). The command
line calls it, unless PYFASTLOOP_AS_TORNADO is set to 0.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyfastloop

__all__ = [
    "include_children",
    "install",
    "installed",
    "uninstall",
    "version",
    "version_info",
]

#: The version of Tornado whose API pyfastloop has.
version = "6.6.1"
#: The same as numbers.
version_info = (6, 6, 1, 0)

_NAME = "tornado"
_OWN = "pyfastloop"
#: The environment variable that decides for child processes: "1" or "0".
_CHILDREN = "PYFASTLOOP_AS_TORNADO"


class _Loader(importlib.abc.Loader):
    """Gives the module of ours for a name of Tornado's."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._spec: importlib.machinery.ModuleSpec | None = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = importlib.import_module(self._own_name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        # The module has been run under its own name, and keeps it.
        module.__spec__ = self._spec

    def get_code(self, fullname: str) -> types.CodeType | None:
        """What ``python -m`` runs of the module."""
        spec = importlib.util.find_spec(self._own_name)
        loader = None if spec is None else spec.loader
        assert isinstance(loader, importlib.abc.InspectLoader)
        return loader.get_code(self._own_name)


class _PackageLoader(importlib.abc.Loader):
    """Gives the package that :func:`install` made, to an import that caused it."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return sys.modules[_NAME]

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing: the package is made as it is."""


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for ``tornado.*``, and never lets the real one through."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        if package != _NAME or not rest:
            return None
        own_name = f"{_OWN}.{rest}"
        own = importlib.util.find_spec(own_name)
        if own is None or rest == "__main__":  # ours is another program
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: pyfastloop stands in for tornado and "
                "has no such module",
                name=fullname,
            )
        return importlib.machinery.ModuleSpec(
            fullname,
            _Loader(own_name),
            origin=own.origin,
            is_package=own.submodule_search_locations is not None,
        )


class _Tornado(types.ModuleType):
    """The package ``tornado``; its submodules load when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {_NAME!r} has no attribute {name!r}")
        try:
            return importlib.import_module(f"{_NAME}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{_NAME}.{name}":
                raise  # the module is there, something that it needs is not
            raise AttributeError(
                f"module {_NAME!r} has no attribute {name!r}"
            ) from None


_finder: _Finder | None = None
_policy: Any = None


def installed() -> bool:
    """Whether ``tornado`` means pyfastloop now."""
    return _finder is not None


def install() -> None:
    """Makes ``tornado`` mean pyfastloop; nothing where it does already.

    Raises ImportError where Tornado itself was imported before.
    """
    global _finder, _policy
    if _finder is not None:
        return
    loaded = sorted(n for n in sys.modules if n == _NAME or n.startswith(_NAME + "."))
    if loaded:
        raise ImportError(
            "tornado was imported before pyfastloop.as_tornado (loaded: "
            f"{', '.join(loaded[:3])}{', ...' if len(loaded) > 3 else ''}). Import "
            "pyfastloop.as_tornado first, or run the program by: "
            "python -m pyfastloop --as-tornado script.py"
        )
    package = _Tornado(_NAME, "Tornado's API by pyfastloop.")
    package.__path__ = []
    package.__spec__ = importlib.machinery.ModuleSpec(
        _NAME, _PackageLoader(), is_package=True
    )
    package.__file__ = pyfastloop.__file__
    package.version = version  # type: ignore[attr-defined]
    package.version_info = version_info  # type: ignore[attr-defined]
    _finder = _Finder()
    sys.meta_path.insert(0, _finder)
    sys.modules[_NAME] = package
    _policy = _set_policy(pyfastloop.EventLoopPolicy())


def uninstall() -> None:
    """Takes :func:`install` back; objects that the program holds stay ours."""
    global _finder, _policy
    if _finder is None:
        return
    sys.meta_path.remove(_finder)
    _finder = None
    for name in [n for n in sys.modules if n == _NAME or n.startswith(_NAME + ".")]:
        del sys.modules[name]
    _set_policy(_policy)
    _policy = None


def include_children() -> None:
    """Lets ``tornado`` mean pyfastloop in the Python processes started from here on.

    By environment variables that they inherit: PYFASTLOOP_AS_TORNADO becomes 1, and
    PYTHONPATH begins with a folder whose ``sitecustomize`` waits for the import of
    tornado (the environment's own ``sitecustomize`` runs after it). Nothing is done
    where PYFASTLOOP_AS_TORNADO has a value other than 1. A Python that ignores the
    environment (-E, -I) or site (-S) is not reached; one whose environment has no
    pyfastloop warns and keeps its own tornado.
    """
    if os.environ.setdefault(_CHILDREN, "1") != "1":
        return
    folder = str(Path(__file__).with_name("_children"))
    old = os.environ.get("PYTHONPATH", "")
    if folder not in old.split(os.pathsep):
        os.environ["PYTHONPATH"] = folder + (os.pathsep + old if old else "")


def _set_policy(policy: Any) -> Any:
    """Sets asyncio's policy, by which new loops are made, and gives the old one."""
    with warnings.catch_warnings():
        # Deprecated from 3.14 on, and the only way that reaches asyncio.run.
        warnings.simplefilter("ignore", DeprecationWarning)
        old = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(policy)
    return old


install()
