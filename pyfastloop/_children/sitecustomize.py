"""In a Python that a program under ``--as-tornado`` started: ``tornado`` is ours too.

``pyfastloop.as_tornado.include_children`` puts the folder of this file in front of
PYTHONPATH, so that every Python which is started from there on, by whomever, runs it
at its start. It costs such a process next to nothing: pyfastloop is loaded when tornado
is first asked for. Where the environment of that Python has no pyfastloop, it keeps its
own tornado and is told so by a warning.

It runs in any Python from 3.7 on, the package there or not, so it uses nothing of it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing itself would cost each process its import
if TYPE_CHECKING:
    from typing import Any

_VARIABLE = "PYFASTLOOP_AS_TORNADO"


class _Waiting:
    """The finder that loads pyfastloop.as_tornado when tornado is asked for."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != "tornado" or cls not in sys.meta_path:
            return None
        sys.meta_path.remove(cls)
        try:
            import pyfastloop.as_tornado  # noqa: F401
        except ModuleNotFoundError as error:
            if error.name != "pyfastloop":
                raise
            import warnings

            warnings.warn(
                f"{_VARIABLE} is set, but {sys.executable} has no pyfastloop: this "
                "process goes on with the tornado that is installed there",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        return sys.modules[fullname].__spec__  # as_tornado has put it there


def _run_the_next() -> None:
    """Runs the sitecustomize before which PYTHONPATH puts this one."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or os.curdir) != here]
    this = sys.modules.pop(__name__, None)
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
        if this is not None:
            sys.modules[__name__] = this


if os.environ.get(_VARIABLE) == "1":
    sys.meta_path.insert(0, _Waiting)
_run_the_next()
