"""Options that each module of a program defines where it uses them.

    define("port", default=8888, help="run on the given port")

    options.parse_command_line()          # --port=80, --log-file-prefix=x.log
    options.parse_config_file("my.conf")  # port = 80: the file is Python
    app.listen(options.port)

An option has a type, by which its text is read: str, bytes, int, float, bool,
`datetime.datetime`, `datetime.timedelta` ("1h 30m", "90", "500ms"), or any class that
takes a str. With ``multiple=True`` its value is a list, given with commas between; a
list of integers takes ranges too, ``0:3,7`` is ``[0, 1, 2, 3, 7]``. ``-`` and ``_`` in
names are the same.

The functions of this module act on the one parser `options`, which has the logging
options of `pyfastloop.log` as well.

Differences from Tornado: a value that does not fit is always an `Error` (where it was
a text, a ValueError too), and says what was expected; bytes options work; units of time
have singular forms; an empty text is no time.
"""

from __future__ import annotations

import datetime
import numbers
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from pyfastloop.log import define_logging_options

__all__ = [
    "Error",
    "OptionParser",
    "add_parse_callback",
    "define",
    "options",
    "parse_command_line",
    "parse_config_file",
    "print_help",
]


class Error(Exception):
    """What is wrong with a definition or with what was given for an option."""


class _BadValue(Error, ValueError):
    """A text that cannot be read as the option's type."""


_UNSET: Any = object()

_DATETIME_FORMATS = (
    "%a %b %d %H:%M:%S %Y",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y%m%d %H:%M:%S",
    "%Y%m%d %H:%M",
    "%Y-%m-%d",
    "%Y%m%d",
    "%H:%M:%S",
    "%H:%M",
)

_DURATION = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-z]*)\s*")
_UNITS = {
    unit: name
    for name, units in {
        "weeks": "w week weeks",
        "days": "d day days",
        "hours": "h hour hours",
        "minutes": "m min minute minutes",
        "seconds": "s sec second seconds",
        "milliseconds": "ms millisecond milliseconds",
        "microseconds": "us microsecond microseconds",
    }.items()
    for unit in units.split()
}
_UNITS[""] = "seconds"

_FALSE = frozenset({"false", "0", "f"})


def _parse_datetime(text: str) -> datetime.datetime:
    for form in _DATETIME_FORMATS:
        try:
            return datetime.datetime.strptime(text, form)
        except ValueError:
            continue
    raise ValueError("none of the known forms, one of which is 2030-12-31 23:59")


def _parse_timedelta(text: str) -> datetime.timedelta:
    total = datetime.timedelta()
    position = 0
    while position < len(text) or not position:
        found = _DURATION.match(text, position)
        if found is None or found[2] not in _UNITS:
            raise ValueError('no time such as "1h 30m" or "500ms"')
        total += datetime.timedelta(**{_UNITS[found[2]]: float(found[1])})
        position = found.end()
    return total


def _parse_bool(text: str) -> bool:
    return text.lower() not in _FALSE


_PARSERS: dict[type, Callable[[str], Any]] = {
    datetime.datetime: _parse_datetime,
    datetime.timedelta: _parse_timedelta,
    bool: _parse_bool,
    str: str,
    bytes: str.encode,
}


class _Option:
    """One option: how its text is read, and its value."""

    def __init__(
        self,
        name: str,
        default: Any = None,
        type: type | None = None,
        help: str | None = None,
        metavar: str | None = None,
        multiple: bool = False,
        file_name: str | None = None,
        group_name: str | None = None,
        callback: Callable[[Any], None] | None = None,
    ) -> None:
        if type is None:
            raise ValueError(f"option {name!r} has no type")
        self.name = name
        self.type = type
        self.help = help
        self.metavar = metavar
        self.multiple = multiple
        self.file_name = file_name
        self.group_name = group_name
        self.callback = callback
        self.default = [] if default is None and multiple else default
        self._value = _UNSET

    def value(self) -> Any:
        return self.default if self._value is _UNSET else self._value

    def parse(self, value: str) -> Any:
        """Set the option by a text, as from the command line."""
        if self.multiple:
            items: list[Any] = []
            for part in value.split(","):
                if issubclass(self.type, numbers.Integral):
                    first, _, last = part.partition(":")
                    low = self._read(first)
                    high = self._read(last) if last else low
                    items.extend(range(low, high + 1))
                else:
                    items.append(self._read(part))
            self._value = items
        else:
            self._value = self._read(value)
        self._changed()
        return self.value()

    def _read(self, text: str) -> Any:
        read = _PARSERS.get(self.type, self.type)
        try:
            return read(text)
        except ValueError as error:
            raise _BadValue(
                f"Option {self.name!r} takes {self._kind()}, got {text!r}: {error}"
            ) from error

    def set(self, value: Any) -> None:
        """Set the option to a value of its type, as a program does."""
        if self.multiple:
            fits = isinstance(value, list) and all(
                item is None or isinstance(item, self.type) for item in value
            )
        else:
            fits = value is None or isinstance(value, self.type)
        if not fits:
            raise Error(f"Option {self.name!r} takes {self._kind()}, got {value!r}")
        self._value = value
        self._changed()

    def _changed(self) -> None:
        if self.callback is not None:
            self.callback(self._value)

    def _kind(self) -> str:
        name = self.type.__name__
        return f"a list of {name}" if self.multiple else name


def _definer() -> str:
    """The file of the nearest caller outside of this module."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename


class OptionParser:
    """A set of options, read as attributes or by item.

    Most programs use the one that is `options`.
    """

    _options: dict[str, _Option]
    _parse_callbacks: list[Callable[[], None]]

    def __init__(self) -> None:
        # Past our own __setattr__, which sets options.
        self.__dict__["_options"] = {}
        self.__dict__["_parse_callbacks"] = []
        self.define(
            "help",
            type=bool,
            help="show this help information",
            callback=self._help_callback,
            group="",
        )

    def _normalize_name(self, name: str) -> str:
        return name.replace("_", "-")

    def _find(self, name: str) -> _Option:
        # Through __dict__: copy and pickle look for attributes before there are any.
        found: _Option | None = self.__dict__.get("_options", {}).get(
            self._normalize_name(name)
        )
        if found is None:
            raise AttributeError(f"Unrecognized option {name!r}")
        return found

    def __getattr__(self, name: str) -> Any:
        return self._find(name).value()

    def __setattr__(self, name: str, value: Any) -> None:
        self._find(name).set(value)

    def __iter__(self) -> Iterator[str]:
        return (option.name for option in self._options.values())

    def __contains__(self, name: str) -> bool:
        return self._normalize_name(name) in self._options

    def __getitem__(self, name: str) -> Any:
        return self._find(name).value()

    def __setitem__(self, name: str, value: Any) -> None:
        self._find(name).set(value)

    def items(self) -> list[tuple[str, Any]]:
        """Names and values of all options."""
        return [(option.name, option.value()) for option in self._options.values()]

    def groups(self) -> set[str]:
        """The names of the groups that options were defined in."""
        return {option.group_name or "" for option in self._options.values()}

    def group_dict(self, group: str) -> dict[str, Any]:
        """Names and values of the options in `group`, of all where it is empty.

        Handy for settings: ``Application(handlers, **options.group_dict("app"))``.
        """
        return {
            option.name: option.value()
            for option in self._options.values()
            if not group or group == option.group_name
        }

    def as_dict(self) -> dict[str, Any]:
        """Names and values of all options."""
        return dict(self.items())

    def define(
        self,
        name: str,
        default: Any = None,
        type: type | None = None,
        help: str | None = None,
        metavar: str | None = None,
        multiple: bool = False,
        group: str | None = None,
        callback: Callable[[Any], None] | None = None,
    ) -> None:
        """Define an option.

        `type` is that of `default` unless given, and str where neither is. `metavar`
        stands for the value in the help, ``--name=METAVAR``. `group` names the part of
        the help it stands in; it is the defining file unless given. `callback` is
        called with the value whenever that is set:

            define("config", callback=lambda p: options.parse_config_file(p, False))

        A name that is taken is an `Error`.
        """
        normalized = self._normalize_name(name)
        if normalized in self._options:
            raise Error(
                f"Option {normalized!r} already defined in "
                f"{self._options[normalized].file_name}"
            )
        file_name = _definer()
        if type is None:
            listed = multiple or default is None
            type = str if listed else default.__class__
        self._options[normalized] = _Option(
            name,
            default=default,
            type=type,
            help=help,
            metavar=metavar,
            multiple=multiple,
            file_name=file_name,
            group_name=file_name if group is None else group,
            callback=callback,
        )

    def parse_command_line(
        self, args: list[str] | None = None, final: bool = True
    ) -> list[str]:
        """Read ``--name=value`` from `args`, or `sys.argv`; return what is left.

        The first item is the program's name. Reading ends at ``--`` and at the first
        item that begins with no dash. A bool option needs no value. Unless `final`, the
        parse callbacks wait for a later source of options.

        An unknown option prints the help and raises `Error`.
        """
        if args is None:
            args = sys.argv
        rest: list[str] = []
        for index, arg in enumerate(args[1:], 1):
            if not arg.startswith("-"):
                rest = args[index:]
                break
            if arg == "--":
                rest = args[index + 1 :]
                break
            name, equals, value = arg.lstrip("-").partition("=")
            option = self._options.get(self._normalize_name(name))
            if option is None:
                self.print_help()
                raise Error(f"Unrecognized command line option: {name!r}")
            if not equals:
                if option.type is not bool:
                    raise Error(f"Option {name!r} requires a value: --{name}=...")
                value = "true"
            option.parse(value)
        if final:
            self.run_parse_callbacks()
        return rest

    def parse_config_file(self, path: str, final: bool = True) -> None:
        """Run the Python file at `path` and take options from its names.

        A value is one of the option's type, or a text that is read as on the command
        line. Names that are no option are ignored: they may be imports and helpers.
        ``__file__`` is the file's absolute path. Unless `final`, the parse callbacks
        wait for a later source of options.
        """
        config: dict[str, Any] = {"__file__": os.path.abspath(path)}
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec", dont_inherit=True), config)
        for name, value in config.items():
            option = self._options.get(self._normalize_name(name))
            if option is None:
                continue
            if option.multiple and not isinstance(value, list | str):
                raise Error(
                    f"Option {option.name!r} takes {option._kind()} or a text with "
                    f"commas, got {value!r} in {path}"
                )
            if isinstance(value, str) and (option.multiple or option.type is not str):
                option.parse(value)
            else:
                option.set(value)
        if final:
            self.run_parse_callbacks()

    def print_help(self, file: TextIO | None = None) -> None:
        """Print all options to `file`, or stderr."""
        if file is None:
            file = sys.stderr
        lines = [f"Usage: {sys.argv[0]} [OPTIONS]", "", "Options:", ""]
        groups: dict[str, list[_Option]] = {}
        for option in self._options.values():
            groups.setdefault(option.group_name or "", []).append(option)
        for group, members in sorted(groups.items()):
            if group:
                lines += [f"{os.path.normpath(group)} options:", ""]
            for option in sorted(members, key=lambda option: option.name):
                lines += self._help_of(option)
            lines.append("")
        print("\n".join(lines), file=file)

    def _help_of(self, option: _Option) -> list[str]:
        """The lines for one option: its name to the left, its help to the right."""
        left = "  --" + self._normalize_name(option.name)
        if option.metavar:
            left += "=" + option.metavar
        text = option.help or ""
        if option.default is not None and option.default != "":
            text = f"{text} (default {option.default})".lstrip()
        indent = 35
        right = textwrap.wrap(text, 79 - indent) or [""]
        # A name that reaches into the right column has the line to itself.
        lines = [left] if len(left) > indent - 2 else []
        if not lines:
            lines.append((left.ljust(indent) + right.pop(0)).rstrip())
        return lines + [" " * indent + line for line in right if line]

    def _help_callback(self, value: bool) -> None:
        if value:
            self.print_help()
            sys.exit(0)

    def add_parse_callback(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when all options were read."""
        self._parse_callbacks.append(callback)

    def run_parse_callbacks(self) -> None:
        """Call what `add_parse_callback` was given."""
        for callback in self._parse_callbacks:
            callback()

    def mockable(self) -> _Mockable:
        """A wrapper whose attributes `unittest.mock.patch` can set and put back.

            with mock.patch.object(options.mockable(), "name", value):
                assert options.name == value

        The parser itself has no delattr, by which the patch is undone.
        """
        return _Mockable(self)


class _Mockable:
    """See `OptionParser.mockable`."""

    def __init__(self, parser: OptionParser) -> None:
        self.__dict__["_parser"] = parser
        self.__dict__["_originals"] = []  # (name, value), the latest last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_parser"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__["_originals"].append((name, getattr(self, name)))
        setattr(self.__dict__["_parser"], name, value)

    def __delattr__(self, name: str) -> None:
        originals: list[tuple[str, Any]] = self.__dict__["_originals"]
        for index in reversed(range(len(originals))):
            if originals[index][0] == name:
                setattr(self.__dict__["_parser"], name, originals.pop(index)[1])
                return
        raise AttributeError(f"option {name!r} was not set through this object")


#: The program's options.
options = OptionParser()


def define(
    name: str,
    default: Any = None,
    type: type | None = None,
    help: str | None = None,
    metavar: str | None = None,
    multiple: bool = False,
    group: str | None = None,
    callback: Callable[[Any], None] | None = None,
) -> None:
    """Define an option in `options`; see `OptionParser.define`."""
    options.define(
        name,
        default=default,
        type=type,
        help=help,
        metavar=metavar,
        multiple=multiple,
        group=group,
        callback=callback,
    )


def parse_command_line(args: list[str] | None = None, final: bool = True) -> list[str]:
    """Read `options` from the command line; see `OptionParser.parse_command_line`."""
    return options.parse_command_line(args, final=final)


def parse_config_file(path: str, final: bool = True) -> None:
    """Read `options` from a file; see `OptionParser.parse_config_file`."""
    options.parse_config_file(path, final=final)


def print_help(file: TextIO | None = None) -> None:
    """Print `options` with their help; see `OptionParser.print_help`."""
    options.print_help(file)


def add_parse_callback(callback: Callable[[], None]) -> None:
    """Have `callback` called when `options` were read."""
    options.add_parse_callback(callback)


define_logging_options(options)
