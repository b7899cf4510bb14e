"""The three loggers that pyfastloop writes to, and a formatter for terminals and files.

- ``tornado.access``: one line for each request that was served;
- ``tornado.application``: exceptions that the program's own code let through;
- ``tornado.general``: everything else that is worth a line.

They keep Tornado's names, because programs configure them by name. Importing this
module configures nothing: that is done by `enable_pretty_logging`, which
`options.parse_command_line` calls.

`AccessLog` writes access lines without the logging module, for servers that log every
request.

Differences from Tornado: `AccessLog`; `LogFormatter` honours its `style` argument, the
environment variable NO_COLOR (https://no-color.org), and ``stack_info`` of a record.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Any, ClassVar, Literal, Self

from pyfastloop import _core

try:
    import curses
except ImportError:  # a CPython built without ncurses
    curses = None  # type: ignore[assignment]

__all__ = [
    "AccessLog",
    "LogFormatter",
    "access_log",
    "app_log",
    "colorama",
    "curses",
    "define_logging_options",
    "enable_pretty_logging",
    "gen_log",
]

#: Terminals of Linux need no translation of colour codes: there only for programs that
#: look whether it is None.
colorama = None

access_log = logging.getLogger("tornado.access")
app_log = logging.getLogger("tornado.application")
gen_log = logging.getLogger("tornado.general")


def _stderr_supports_color() -> bool:
    if curses is None or os.environ.get("NO_COLOR"):
        return False
    try:
        if not sys.stderr.isatty():
            return False
        curses.setupterm()
        return curses.tigetnum("colors") > 0
    except Exception:
        # No stderr at all, one that is not a file, or a terminal that terminfo does not
        # know: no colours. A formatter must not be what stops a program.
        return False


class LogFormatter(logging.Formatter):
    """One line for each record, coloured where stderr is a terminal.

    `fmt` is applied to the record's attributes; text between ``%(color)s`` and
    ``%(end_color)s`` gets the colour of the record's level. `colors` maps levels to the
    eight colour numbers of terminals. A record that spans several lines has all but the
    first indented, so that nobody can forge a record by a line end in a message.

    The signature suits `logging.config.dictConfig`.
    """

    DEFAULT_FORMAT = (
        "%(color)s[%(levelname)1.1s %(asctime)s %(module)s:%(lineno)d]%(end_color)s "
        "%(message)s"
    )
    DEFAULT_DATE_FORMAT = "%y%m%d %H:%M:%S"
    DEFAULT_COLORS: ClassVar[dict[int, int]] = {
        logging.DEBUG: 4,  # blue
        logging.INFO: 2,  # green
        logging.WARNING: 3,  # yellow
        logging.ERROR: 1,  # red
        logging.CRITICAL: 5,  # magenta
    }

    def __init__(
        self,
        fmt: str = DEFAULT_FORMAT,
        datefmt: str = DEFAULT_DATE_FORMAT,
        style: Literal["%", "{", "$"] = "%",
        color: bool = True,
        colors: dict[int, int] = DEFAULT_COLORS,
    ) -> None:
        super().__init__(fmt, datefmt, style, validate=False)
        self._colors: dict[int, str] = {}
        self._normal = ""
        if color and _stderr_supports_color():
            # terminfo strings are bytes of ASCII.
            foreground = curses.tigetstr("setaf") or curses.tigetstr("setf") or b""
            for level, code in colors.items():
                self._colors[level] = str(curses.tparm(foreground, code), "ascii")
            self._normal = str(curses.tigetstr("sgr0") or b"", "ascii")

    def format(self, record: logging.LogRecord) -> str:
        """The text of `record`; a record that cannot be formatted says so in it."""
        try:
            record.message = record.getMessage()
        except Exception as error:
            record.message = f"Bad message ({error!r}): {record.__dict__!r}"
        record.asctime = self.formatTime(record, self.datefmt)
        color = self._colors.get(record.levelno, "")
        record.color = color
        record.end_color = self._normal if color else ""
        text = self.formatMessage(record)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            text = f"{text.rstrip()}\n{record.exc_text}"
        if record.stack_info:
            text = f"{text}\n{self.formatStack(record.stack_info)}"
        return text.replace("\n", "\n    ")


def _file_handler(options: Any) -> logging.Handler:
    # Not at the top: it brings in sockets and queues that few programs log through.
    import logging.handlers

    mode = options.log_rotate_mode
    if mode == "size":
        return logging.handlers.RotatingFileHandler(
            filename=options.log_file_prefix,
            maxBytes=options.log_file_max_size,
            backupCount=options.log_file_num_backups,
            encoding="utf-8",
        )
    if mode == "time":
        return logging.handlers.TimedRotatingFileHandler(
            filename=options.log_file_prefix,
            when=options.log_rotate_when,
            interval=options.log_rotate_interval,
            backupCount=options.log_file_num_backups,
            encoding="utf-8",
        )
    raise ValueError(f'log_rotate_mode is "size" or "time", got "{mode}"')


def enable_pretty_logging(
    options: Any = None, logger: logging.Logger | None = None
) -> None:
    """Set up logging as the options say (see `define_logging_options`).

    `logger` is the root logger unless another is given. With ``--logging=none`` nothing
    is touched. Called by `options.parse_command_line` and `parse_config_file`.
    """
    if options is None:
        # Not at the top: options imports this module.
        import pyfastloop.options

        options = pyfastloop.options.options
    if options.logging is None or options.logging.lower() == "none":
        return
    if logger is None:
        logger = logging.getLogger()
    logger.setLevel(options.logging.upper())
    if options.log_file_prefix:
        to_file = _file_handler(options)
        to_file.setFormatter(LogFormatter(color=False))
        logger.addHandler(to_file)
    # To stderr where that was asked for, and where the log would otherwise go nowhere.
    if options.log_to_stderr or (options.log_to_stderr is None and not logger.handlers):
        to_stderr = logging.StreamHandler()
        to_stderr.setFormatter(LogFormatter())
        logger.addHandler(to_stderr)


def define_logging_options(options: Any = None) -> None:
    """Add the logging options to an `options.OptionParser`.

    They are there on the default parser; another one gets them by this call.
    """
    if options is None:
        import pyfastloop.options

        options = pyfastloop.options.options
    define = options.define
    define(
        "logging",
        default="info",
        help="Least level of the records that are logged; "
        "'none' leaves the logging configuration alone.",
        metavar="debug|info|warning|error|none",
    )
    define(
        "log_to_stderr",
        type=bool,
        default=None,
        help="Log to stderr, in colours on a terminal. "
        "Unless given: where there is no --log_file_prefix and no other handler.",
    )
    define(
        "log_file_prefix",
        type=str,
        default=None,
        metavar="PATH",
        help="Path of the log file; older ones get a suffix. Several processes need "
        "one each: put the port number into the name.",
    )
    define(
        "log_file_max_size",
        type=int,
        default=100 * 1000 * 1000,
        help="Size in bytes at which a log file is rotated.",
    )
    define(
        "log_file_num_backups",
        type=int,
        default=10,
        help="How many rotated log files are kept.",
    )
    define(
        "log_rotate_when",
        type=str,
        default="midnight",
        help="Unit of --log_rotate_interval where files are rotated by time: "
        "S, M, H, D, W0 to W6 or midnight.",
    )
    define(
        "log_rotate_interval",
        type=int,
        default=1,
        help="After how many units a log file is rotated by time.",
    )
    define(
        "log_rotate_mode",
        type=str,
        default="size",
        help="What a log file is rotated by: size or time.",
    )
    options.add_parse_callback(lambda: enable_pretty_logging(options))


def _open_log(path: str, flags: int) -> int:
    return os.open(path, flags, 0o644)


class AccessLog(_core.AccessLog):
    """Access lines to a file, put together in C and written once a turn of the loop.

    For Application's setting ``log_function``; at most a microsecond a request where
    `logging` takes five to nine::

        Application(handlers, log_function=AccessLog("access.log", "combined"))

    ``file`` is a path (opened for appending), or a descriptor that stays the caller's:
    2 is standard error. ``format`` is one of

    - ``text``: ``2026-01-31T12:00:00Z 200 GET /path (127.0.0.1) 0.51ms``;
    - ``combined``: the Combined Log Format of Apache and nginx;
    - ``json``: an object a line with time, status, method, uri, ip, ms, bytes, referer
      and agent.

    What a peer sent is escaped. Lines that the file does not take are kept up to a
    megabyte and then dropped: ``lost`` counts them. A blocking descriptor, a pipe to a
    slow reader say, holds the loop up instead.
    """

    def __new__(cls, file: str | os.PathLike[str] | int, format: str = "text") -> Self:
        return super().__new__(cls, -1, format)

    def __init__(
        self, file: str | os.PathLike[str] | int, format: str = "text"
    ) -> None:
        self._path = None if isinstance(file, int) else os.fspath(file)
        self._file: io.FileIO | None = None
        if isinstance(file, int):
            self._set_fd(file)
        else:
            self.reopen()

    def reopen(self) -> None:
        """Open the path again: what a program does after its log was rotated."""
        if self._path is None:
            return
        before, self._file = self._file, io.FileIO(self._path, "ab", opener=_open_log)
        self._set_fd(self._file.fileno())
        if before is not None:
            before.close()

    def close(self) -> None:
        """Write what is left and let the file go; later lines are dropped."""
        self._set_fd(-1)
        file, self._file = self._file, None
        if file is not None:
            file.close()
