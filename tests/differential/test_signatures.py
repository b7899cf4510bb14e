"""Every public name of Tornado is here, and can be called as Tornado's.

Tornado's modules are asked which names they have and which parameters those take, in
which order and with which defaults; ours may take more. What differs on purpose stands
in OTHERWISE, with the reason.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator
from typing import Any

import pytest

tornado = pytest.importorskip("tornado")
if tornado.version_info < (6, 6):
    pytest.skip("needs Tornado 6.6, whose names are ours", allow_module_level=True)

# A part of C, Tornado's own tests, and what is empty but for an import of Twisted.
NOT_MODULES = {"tornado.speedups", "tornado.test", "tornado.platform.twisted"}

# The place of a name, and why it is another one here.
OTHERWISE = {
    "gen.Runner.__init__": "takes the arguments of Tornado 4, too",
}


def modules() -> list[str]:
    found = pkgutil.walk_packages(tornado.__path__, "tornado.")
    names = [m.name for m in found]
    return [n for n in names if not any(n.startswith(s) for s in NOT_MODULES)]


def public(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """The classes and functions of a module, and the methods of the classes."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(value):
            yield name, value
            for method, raw in vars(value).items():
                plain = isinstance(raw, types.FunctionType | classmethod | staticmethod)
                if plain and (not method.startswith("_") or method == "__init__"):
                    yield f"{name}.{method}", getattr(value, method)
        elif inspect.isfunction(value):
            yield name, value


def parameters(value: Any) -> list[inspect.Parameter]:
    return [
        p
        for p in inspect.signature(value).parameters.values()
        if not (p.name.startswith("_") or p.name == "self")
    ]


def differences(theirs: Any, ours: Any) -> list[str]:
    wanted, have = parameters(theirs), parameters(ours)
    by_name = {p.name: p for p in have}
    told = []
    for p in wanted:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            more = [q for q in have if q.name not in {w.name for w in wanted}]
            if not more and not any(q.kind == p.kind for q in have):
                told.append(f"{p} is not taken")
            continue
        same = by_name.get(p.name)
        if same is None:
            told.append(f"{p.name} is not taken")
        elif p.kind != p.POSITIONAL_ONLY and same.kind == p.POSITIONAL_ONLY:
            told.append(f"{p.name} is not taken by name")
        elif p.default is not p.empty and same.default is p.empty:
            told.append(f"{p.name} must be given")
        elif isinstance(p.default, bool | int | float | str | bytes | None) and (
            p.default != same.default
        ):
            told.append(f"{p.name} is {same.default!r} by default, not {p.default!r}")
    named = [p.name for p in wanted if p.name in by_name]
    if [p.name for p in have if p.name in named] != named:
        told.append(f"the order is {[p.name for p in have]}, not {named}")
    known = {p.name for p in wanted}
    if any(p.kind == p.VAR_POSITIONAL for p in wanted):
        return told
    told += [
        f"{p.name} must be given"
        for p in have
        if p.name not in known
        and p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return told


@pytest.mark.parametrize("name", modules())
def test_names_and_parameters_are_tornados(name: str) -> None:
    theirs = pytest.importorskip(name)
    ours = importlib.import_module(name.replace("tornado", "pyfastloop", 1))
    wrong = []
    for path, value in public(theirs):
        place = f"{name.removeprefix('tornado.')}.{path}"
        here: Any = ours
        try:
            for part in path.split("."):
                here = getattr(here, part)
        except AttributeError:
            wrong.append(f"{place} is missing")
            continue
        if place in OTHERWISE:
            continue
        if inspect.isclass(value):
            assert inspect.isclass(here), place
        elif not path.endswith(".__init__") or isinstance(
            here, types.FunctionType | types.MethodDescriptorType
        ):
            wrong += [f"{place}: {text}" for text in differences(value, here)]
        else:  # of a type of C: it is the type that tells
            cls = getattr(ours, path.removesuffix(".__init__"))
            wrong += [f"{place}: {text}" for text in differences(value, cls)]
    assert wrong == []
