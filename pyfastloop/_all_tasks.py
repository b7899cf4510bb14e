"""How `asyncio.all_tasks` finds the tasks of the C core.

asyncio keeps the tasks of other makers in a WeakSet. An entry there costs a task a weak
reference and half a microsecond each time it is started to wait, and all that only for
the few who ever ask. The C core has a list of what waits anyway, so that set is taught
to give, after its own, what is in the list at the moment of asking; nothing is entered.
From any thread: the list is copied in one go.
"""

from __future__ import annotations

import asyncio.tasks
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

from pyfastloop import _core

__all__ = ["join"]

#: The set's name in CPython 3.11, and since 3.12.
_NAMES = ("_all_tasks", "_scheduled_tasks")


class _Tasks(WeakSet[Any]):
    """asyncio's tasks and those of the C core."""

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        yield from _core.parked_tasks()

    def __len__(self) -> int:
        return super().__len__() + len(_core.parked_tasks())

    def __contains__(self, task: object) -> bool:
        return super().__contains__(task) or task in _core.parked_tasks()


def join() -> bool:
    """Do it; False where this asyncio keeps its tasks in some other way.

    So do CPython 3.14 and later, whose all_tasks is C and looks into a set of its own:
    there each task is entered when it waits.
    """
    if getattr(asyncio.tasks, "_c_all_tasks", None) is not None:
        return False
    for name in _NAMES:
        tasks = getattr(asyncio.tasks, name, None)
        if type(tasks) is WeakSet:
            tasks.__class__ = _Tasks
        if isinstance(tasks, _Tasks):
            return True
    return False
