"""Starts the program anew when one of its source files changes.

``Application(debug=True)`` or ``autoreload=True`` does that for a server: `start`
checks the files of all imported modules, and those named by `watch`, and replaces the
process by a new one with the same command line. A mistake in a file that was just saved
then ends the program. From outside it is kept going:

    python -m pyfastloop.autoreload -m module.to.run [args...]
    python -m pyfastloop.autoreload path/to/script.py [args...]

waits for the next change then, as it does when the program ends by itself, which suits
test runs (with ``--until-success`` it ends once they pass).

Not for programs of several processes, where each would restart itself.

Differences from Tornado: where the watchfiles package is installed, changes are seen
when they are made, and files are not looked at twice a second; the process is started
anew with the very command line of the interpreter (`sys.orig_argv`), in the directory
in which it was started; a script run by this module finds its imports in its own
folder, as it does when it is run by python.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import runpy
import signal
import sys
import threading
import traceback
import types
import weakref
from collections.abc import Callable
from typing import Any

from pyfastloop import ioloop
from pyfastloop.log import app_log, gen_log

__all__ = ["add_reload_hook", "main", "signal", "start", "wait", "watch"]

_USAGE = """\
Usage:
  python -m pyfastloop.autoreload [--until-success] -m module.to.run [args...]
  python -m pyfastloop.autoreload [--until-success] path/to/script.py [args...]

Runs the module or script, and runs it again when one of its files changes.

Options:
  -h, --help       show this help and exit
  -m module        module to run
  --until-success  do not run it again once it has ended with status 0
"""

_watched_files: set[str] = set()
_reload_hooks: list[Callable[[], object]] = []
_io_loops: weakref.WeakKeyDictionary[ioloop.IOLoop, bool] = weakref.WeakKeyDictionary()
# Where a relative path on the command line leads from.
_first_directory = os.getcwd()


class _Files:
    """The watched files, and what they were like when they were first seen."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    @staticmethod
    def paths() -> set[str]:
        """The files of the modules there are now, and those that were named."""
        paths = set(_watched_files)
        for module in list(sys.modules.values()):
            # Some modules are objects that import more when they are looked at.
            if isinstance(module, types.ModuleType):
                path = module.__dict__.get("__file__")
                if isinstance(path, str):
                    paths.add(path[:-1] if path.endswith((".pyc", ".pyo")) else path)
        return paths

    def changed(self) -> str | None:
        """A file that is not as it was, None where all are."""
        for path in self.paths():
            try:
                found = os.stat(path)
            except OSError:
                continue  # editors take files away for a moment
            state = (found.st_mtime_ns, found.st_size)
            if self._seen.setdefault(path, state) != state:
                return path
        return None


def _watchfiles() -> Any:
    """The watchfiles package; None where files are looked at every now and then."""
    try:
        return importlib.import_module("watchfiles")
    except ImportError:
        return None


class _Stop(threading.Event):
    """What ends a watch, and calls a function when that has begun.

    watchfiles asks whether to stop from when it watches on. It does not tell of what
    was changed before.
    """

    def __init__(self, begun: Callable[[], object]) -> None:
        super().__init__()
        self._begun: Callable[[], object] | None = begun

    def is_set(self) -> bool:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun()
        return super().is_set()


class _Notifier:
    """Calls a function, in a thread, when something changes in a watched folder, and
    when that is watched from now on: it may have changed before."""

    def __init__(self, watchfiles: Any, changed: Callable[[], bool]) -> None:
        self._watchfiles = watchfiles
        self._changed = changed  # gives False when nobody listens any more
        self._folders: set[str] = set()
        self._stop = _Stop(changed)

    def watch(self, paths: set[str]) -> None:
        folders = {os.path.dirname(os.path.abspath(path)) for path in paths}
        folders = {folder for folder in folders if os.path.isdir(folder)}
        if folders == self._folders:
            return
        self._folders = folders
        self._stop.set()
        self._stop = _Stop(self._changed)
        threading.Thread(
            target=self._run, args=(folders, self._stop), daemon=True
        ).start()

    def _run(self, folders: set[str], stop: threading.Event) -> None:
        for _ in self._watchfiles.watch(
            *folders,
            watch_filter=None,
            debounce=100,
            stop_event=stop,
            raise_interrupt=False,
            recursive=False,
        ):
            if not self._changed():
                return


def start(check_time: int = 500) -> None:
    """Have the current loop watch the files; on a change the process starts anew.

    `check_time` is in milliseconds: how often the files are looked at, and, where
    watchfiles tells of changes, how often modules that were imported since are added.
    """
    loop = ioloop.IOLoop.current()
    if loop in _io_loops:
        return
    _io_loops[loop] = True
    if len(_io_loops) > 1:
        gen_log.warning("pyfastloop.autoreload started more than once in one process")
    files = _Files()
    files.changed()  # that is how they are now
    check = functools.partial(_reload_on_change, files)
    watchfiles = _watchfiles()
    if watchfiles is None:
        ioloop.PeriodicCallback(check, check_time).start()
        return
    reference = weakref.ref(loop)

    def changed() -> bool:
        loop = reference()
        if loop is None:
            return False
        loop.add_callback(check)
        return True

    notifier = _Notifier(watchfiles, changed)
    count = 0

    def add_new_modules() -> None:
        nonlocal count
        if count != len(sys.modules) + len(_watched_files):
            count = len(sys.modules) + len(_watched_files)
            check()
            notifier.watch(files.paths())

    add_new_modules()
    ioloop.PeriodicCallback(add_new_modules, check_time).start()


def wait() -> None:
    """Wait until a watched file changes, then start the process anew.

    For the end of programs that run to an end, such as tests.
    """
    files = _Files()
    files.changed()  # that is how they are now
    _wait(files)


def _wait(files: _Files) -> None:
    told = threading.Event()
    seconds = 0.5
    watchfiles = _watchfiles()
    if watchfiles is not None:

        def changed() -> bool:
            told.set()
            return True

        _Notifier(watchfiles, changed).watch(files.paths())
        seconds = 5  # some file systems tell nobody
    while (path := files.changed()) is None:
        told.wait(seconds)
        told.clear()
    gen_log.info("%s modified; restarting", path)
    _reload()


def watch(filename: str) -> None:
    """Add a file to those that are watched; imported modules are among them anyway."""
    _watched_files.add(os.path.abspath(filename))


def add_reload_hook(fn: Callable[[], object]) -> None:
    """Have `fn` called before the process is started anew.

    Open files need no hook: they are closed unless they were made inheritable.
    """
    _reload_hooks.append(fn)


def _reload_on_change(files: _Files) -> None:
    path = files.changed()
    if path is not None:
        gen_log.info("%s modified; restarting server", path)
        _reload()


def _reload() -> None:
    """Replace this process by one with the same command line."""
    for hook in _reload_hooks:
        try:
            hook()
        except Exception:
            app_log.error("Exception in reload hook %r", hook, exc_info=True)
    # An alarm would kill the new process, which has no handler for it yet.
    signal.setitimer(signal.ITIMER_REAL, 0, 0)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    with contextlib.suppress(OSError):
        os.chdir(_first_directory)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


# -- the command -----------------------------------------------------------------------


def main() -> None:
    """Run a module or script again and again; see the module's docstring."""
    module, path, until_success, args = _parse(sys.argv[1:])
    try:
        error = _run(module, path, args)
        if until_success and _is_success(error):
            return
        files = _Files()
        files.changed()
        # Only now: whoever reads that the script has ended may change its files.
        _log_end(error)
        _wait(files)
    except KeyboardInterrupt:
        sys.exit(130)


def _parse(args: list[str]) -> tuple[str | None, str | None, bool, list[str]]:
    until_success = False
    while args and args[0].startswith("-"):
        option, *args = args
        if option in ("-h", "--help"):
            print(_USAGE, end="")
            sys.exit(0)
        if option == "--until-success":
            until_success = True
        elif option == "-m":
            if not args:
                _fail("-m needs the name of a module")
            return args[0], None, until_success, args[1:]
        else:
            _fail(f"no such option: {option}")
    if not args:
        _fail("either -m or a path must be given")
    return None, args[0], until_success, args[1:]


def _fail(message: str) -> None:
    print(f"{_USAGE}\npyfastloop.autoreload: {message}", file=sys.stderr)
    sys.exit(2)


def _run(
    module: str | None, path: str | None, args: list[str]
) -> SystemExit | Exception | None:
    """Run it once; give what ended it, None where it came to its end."""
    try:
        if module is not None:
            sys.argv = [module, *args]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            assert path is not None
            sys.argv = [path, *args]
            sys.path[0] = os.path.dirname(os.path.abspath(path))
            # Once it has run, nothing tells that it was a module.
            watch(path)
            runpy.run_path(path, run_name="__main__")
    except SystemExit as error:
        return error
    except Exception as error:
        # A module whose import failed is in none of sys.modules.
        for entry in traceback.extract_tb(error.__traceback__):
            watch(entry.filename)
        if isinstance(error, SyntaxError) and error.filename:
            watch(error.filename)
        return error
    finally:
        if module is not None:
            _watch_module(module)
    return None


def _is_success(error: SystemExit | Exception | None) -> bool:
    return error is None or (isinstance(error, SystemExit) and error.code in (0, None))


def _log_end(error: SystemExit | Exception | None) -> None:
    if error is None:
        gen_log.info("Script exited normally")
    elif isinstance(error, SystemExit):
        gen_log.info("Script exited with status %s", error.code)
    else:
        gen_log.warning("Script exited with uncaught exception", exc_info=error)


def _watch_module(name: str) -> None:
    """Watch the file of a module that was run as __main__, under which it is gone."""
    with contextlib.suppress(Exception):
        spec: Any = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
        if spec is not None and spec.origin:
            watch(spec.origin)


if __name__ == "__main__":
    # As __main__ this is another module than the one that programs import.
    from pyfastloop import autoreload

    autoreload.main()
