"""Translations of texts, and dates, numbers and lists in the user's language.

    load_translations("translations")            # or load_gettext_translations(...)
    user_locale = get("es_LA", "es")             # the closest of those that were loaded
    user_locale.translate("Sign out")

    user_locale.translate(
        "%(name)s liked this", "%(names)s liked this", len(people)
    ) % {"names": user_locale.list(people), "name": people[0]}

Without translations every text is its own. A `Locale` is asked for by `get`; which
language a request wants is told by ``RequestHandler.get_user_locale`` and
``get_browser_locale``.

Differences from Tornado: loading other translations takes effect for locales that were
asked for before; the encoding of each file is looked at by itself; locale codes of
three parts, such as ``zh-Hant-TW``, are looked up by their first and last.
"""

from __future__ import annotations

import codecs
import csv
import datetime
import gettext
import glob
import os.path
import re
from collections.abc import Iterable
from typing import Any, ClassVar

from pyfastloop._locale_data import LOCALE_NAMES
from pyfastloop.log import gen_log

__all__ = [
    "CONTEXT_SEPARATOR",
    "LOCALE_NAMES",
    "CSVLocale",
    "GettextLocale",
    "Locale",
    "get",
    "get_supported_locales",
    "load_gettext_translations",
    "load_translations",
    "set_default_locale",
]

#: What stands between context and message in the keys of gettext's files.
CONTEXT_SEPARATOR = "\x04"

_default_locale = "en_US"
# By code: for CSV a dict of dicts (see CSVLocale), else gettext's object.
_translations: dict[str, Any] = {}
_supported_locales: frozenset[str] = frozenset([_default_locale])
_use_gettext = False

_CODE = re.compile(r"[a-z]+(_([A-Z]+|[0-9]+))?")
_PLURALS = ("plural", "singular", "unknown")


def get(*locale_codes: str) -> Locale:
    """The locale closest to the codes, which are tried in their order.

    One is close if it is the same, or the same language. Where none is, the default
    locale is given.
    """
    return Locale.get_closest(*locale_codes)


def set_default_locale(code: str) -> None:
    """Say in which language the texts in the program are.

    It is "en_US" unless this is called. It needs no translations, and is what users get
    for whose language there are none.
    """
    global _default_locale
    _default_locale = code
    _publish(_translations, _use_gettext)


def _publish(translations: dict[str, Any], use_gettext: bool) -> None:
    """Make `translations` those in use."""
    global _translations, _use_gettext, _supported_locales
    _translations = translations
    _use_gettext = use_gettext
    _supported_locales = frozenset([*translations, _default_locale])
    Locale._cache.clear()


def load_translations(directory: str, encoding: str | None = None) -> None:
    """Load translations from the CSV files in `directory`.

    A file is called by its locale, ``es_LA.csv``. A row has the text, its translation,
    and for texts with a plural "plural" or "singular":

        "I love you","Te amo"
        "%(name)s liked this","A %(name)s les gustó esto","plural"
        "%(name)s liked this","A %(name)s le gustó esto","singular"

    Without `encoding` the files are UTF-8, or UTF-16 where they begin with its byte
    order mark. Files and rows that cannot be used are logged.
    """
    translations: dict[str, Any] = {}
    for name in sorted(os.listdir(directory)):
        code, extension = os.path.splitext(name)
        if extension != ".csv":
            continue
        path = os.path.join(directory, name)
        if not _CODE.fullmatch(code):
            gen_log.error("Unrecognized locale %r (path: %s)", code, path)
            continue
        translations[code] = _read_csv(path, encoding or _encoding_of(path))
    _publish(translations, use_gettext=False)
    gen_log.debug("Supported locales: %s", sorted(_supported_locales))


def _encoding_of(path: str) -> str:
    with open(path, "rb") as file:
        mark = file.read(2)
    utf_16 = mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if utf_16 else "utf-8-sig"


def _read_csv(path: str, encoding: str) -> dict[str, dict[str, str]]:
    translations: dict[str, dict[str, str]] = {}
    with open(path, encoding=encoding, newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if len(row) < 2:
                continue
            text, translation, plural = [c.strip() for c in [*row, "", ""][:3]]
            if not plural:
                plural = "unknown"
            if plural not in _PLURALS:
                gen_log.error(
                    "Unrecognized plural indicator %r in %s line %d",
                    plural,
                    path,
                    number,
                )
                continue
            translations.setdefault(plural, {})[text] = translation
    return translations


def load_gettext_translations(directory: str, domain: str) -> None:
    """Load translations from gettext's files below `directory`.

    They are called ``{directory}/{locale}/LC_MESSAGES/{domain}.mo``: made with
    xgettext, msgmerge and msgfmt. A file that cannot be read is logged.
    """
    translations: dict[str, Any] = {}
    pattern = os.path.join(
        glob.escape(directory), "*", "LC_MESSAGES", glob.escape(domain) + ".mo"
    )
    for path in sorted(glob.glob(pattern)):
        code = os.path.basename(os.path.dirname(os.path.dirname(path)))
        try:
            with open(path, "rb") as file:
                translations[code] = gettext.GNUTranslations(file)
        except Exception as error:
            gen_log.error("Cannot load translation for %r: %s", code, error)
    if not translations:
        gen_log.warning("No translations found: no file is called %s", pattern)
    _publish(translations, use_gettext=True)
    gen_log.debug("Supported locales: %s", sorted(_supported_locales))


def get_supported_locales() -> Iterable[str]:
    """The codes of all locales there are: what was loaded, and the default."""
    return _supported_locales


class Locale:
    """A language: texts in it, and dates, numbers and lists.

    Asked for by `get`; subclasses say where the texts come from.
    """

    _cache: ClassVar[dict[str, Locale]] = {}

    @classmethod
    def get_closest(cls, *locale_codes: str) -> Locale:
        """The locale closest to the codes; see `get`."""
        for code in locale_codes:
            if not code:
                continue
            parts = code.replace("-", "_").split("_")
            language = parts[0].lower()
            if len(parts) > 1:
                full = f"{language}_{parts[-1].upper()}"
                if full in _supported_locales:
                    return cls.get(full)
            if language in _supported_locales:
                return cls.get(language)
        return cls.get(_default_locale)

    @classmethod
    def get(cls, code: str) -> Locale:
        """The locale called `code`; KeyError where that is not loaded."""
        found = cls._cache.get(code)
        if found is None:
            if code not in _supported_locales:
                raise KeyError(
                    f"no locale is called {code!r}, only {sorted(_supported_locales)}"
                )
            translations = _translations.get(code)
            if translations is None:
                found = CSVLocale(code, {})
            elif _use_gettext:
                found = GettextLocale(code, translations)
            else:
                found = CSVLocale(code, translations)
            cls._cache[code] = found
        return found

    def __init__(self, code: str) -> None:
        self.code = code
        #: The language's name for itself.
        self.name = LOCALE_NAMES.get(code, {}).get("name", "Unknown")
        #: Whether it is written from right to left.
        self.rtl = code.startswith(("fa", "ar", "he"))

    def translate(
        self,
        message: str,
        plural_message: str | None = None,
        count: int | None = None,
    ) -> str:
        """`message` in this language, itself where there is no translation.

        With `plural_message`, that one for a `count` that is not one.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no translate")

    def pgettext(
        self,
        context: str,
        message: str,
        plural_message: str | None = None,
        count: int | None = None,
    ) -> str:
        """As `translate`, for a `message` that means several things.

        `context` says which: ``pgettext("law", "right")``.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no pgettext")

    # -- dates -------------------------------------------------------------------------

    def format_date(
        self,
        date: int | float | datetime.datetime,
        gmt_offset: int = 0,
        relative: bool = True,
        shorter: bool = False,
        full_format: bool = False,
    ) -> str:
        """A date in words: "2 minutes ago", "yesterday at 3:05 pm", "March 5".

        `date` is in seconds since 1970, or a datetime: in UTC, or one that knows its
        time zone and is shown in that. `gmt_offset` is how many minutes the user's
        clock is behind it, as JavaScript's ``getTimezoneOffset`` says.

        Without `relative` there is no "ago". `shorter` leaves out the time of days that
        are not today. `full_format` always gives all of it. So does a date in the
        future, but for the next minute, which is a matter of clocks.
        """
        if isinstance(date, int | float):
            date = datetime.datetime.fromtimestamp(date, datetime.UTC)
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        now = datetime.datetime.now(datetime.UTC)
        if date > now:
            if relative and (date - now).total_seconds() < 60:
                date = now
            else:
                full_format = True
        offset = datetime.timedelta(minutes=gmt_offset)
        local = date - offset
        age = now - date
        if not full_format and relative and age.days == 0:
            return self._ago(age.seconds)
        if not full_format and age.days == 0:
            return self._clock(local)
        yesterday = (now - offset - datetime.timedelta(days=1)).day
        if full_format or age.days >= 334:
            form = "%(month_name)s %(day)s, %(year)s"
        elif age.days == 1 and relative and local.day == yesterday:
            form = "yesterday"
        elif age.days < 5:
            form = "%(weekday)s"
        else:
            form = "%(month_name)s %(day)s"
        if not shorter:
            form += " at %(time)s"
        return self.translate(form) % {
            "month_name": self._month(local),
            "weekday": self._weekday(local),
            "day": str(local.day),
            "year": str(local.year),
            "time": self._clock(local),
        }

    def _ago(self, seconds: int) -> str:
        if seconds < 50:
            return self.translate(
                "1 second ago", "%(seconds)d seconds ago", seconds
            ) % {"seconds": seconds}
        if seconds < 50 * 60:
            minutes = round(seconds / 60)
            return self.translate(
                "1 minute ago", "%(minutes)d minutes ago", minutes
            ) % {"minutes": minutes}
        hours = round(seconds / 3600)
        return self.translate("1 hour ago", "%(hours)d hours ago", hours) % {
            "hours": hours
        }

    def _clock(self, local: datetime.datetime) -> str:
        """The time of day as this language has it."""
        half = local.hour % 12 or 12
        afternoon = local.hour >= 12
        if self.code in ("en", "en_US"):
            return f"{half}:{local.minute:02} {'pm' if afternoon else 'am'}"
        if self.code == "zh_CN":
            return f"{'下午' if afternoon else '上午'}{half}:{local.minute:02}"
        return f"{local.hour}:{local.minute:02}"

    def format_day(
        self, date: datetime.datetime, gmt_offset: int = 0, dow: bool = True
    ) -> str:
        """A day in words: "Monday, January 22".

        `gmt_offset` is as for `format_date`; `dow` puts the day of the week first.
        """
        local = date - datetime.timedelta(minutes=gmt_offset)
        form = (
            "%(weekday)s, %(month_name)s %(day)s" if dow else "%(month_name)s %(day)s"
        )
        return self.translate(form) % {
            "month_name": self._month(local),
            "weekday": self._weekday(local),
            "day": str(local.day),
        }

    def _month(self, date: datetime.datetime) -> str:
        return self.translate(_MONTHS[date.month - 1])

    def _weekday(self, date: datetime.datetime) -> str:
        return self.translate(_WEEKDAYS[date.weekday()])

    # -- lists and numbers -------------------------------------------------------------

    def list(self, parts: Any) -> str:
        """A list in words: "A, B and C", "A and B", or "A"."""
        if not parts:
            return ""
        if len(parts) == 1:
            return parts[0]  # type: ignore[no-any-return]
        comma = " و " if self.code.startswith("fa") else ", "
        return self.translate("%(commas)s and %(last)s") % {
            "commas": comma.join(parts[:-1]),
            "last": parts[-1],
        }

    def friendly_number(self, value: int) -> str:
        """A whole number with commas, in English; in other languages as it is."""
        if self.code not in ("en", "en_US"):
            return str(value)
        return f"{int(value):,}"


_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WEEKDAYS = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)


class CSVLocale(Locale):
    """A locale whose translations come from a CSV file.

    `translations` are dicts of texts by "plural", "singular" and "unknown".
    """

    def __init__(self, code: str, translations: dict[str, dict[str, str]]) -> None:
        self.translations = translations
        super().__init__(code)

    def translate(
        self,
        message: str,
        plural_message: str | None = None,
        count: int | None = None,
    ) -> str:
        kind = "unknown"
        if plural_message is not None:
            _check_count(count)
            kind = "singular"
            if count != 1:
                kind = "plural"
                message = plural_message
        return self.translations.get(kind, {}).get(message, message)

    def pgettext(
        self,
        context: str,
        message: str,
        plural_message: str | None = None,
        count: int | None = None,
    ) -> str:
        """The same as `translate`: CSV files know no contexts."""
        if self.translations:
            gen_log.warning("pgettext is not supported by CSVLocale")
        return self.translate(message, plural_message, count)


class GettextLocale(Locale):
    """A locale whose translations come from gettext's files."""

    def __init__(self, code: str, translations: gettext.NullTranslations) -> None:
        self.ngettext = translations.ngettext
        self.gettext = translations.gettext
        super().__init__(code)

    def translate(
        self,
        message: str,
        plural_message: str | None = None,
        count: int | None = None,
    ) -> str:
        if plural_message is None:
            return self.gettext(message)
        return self.ngettext(message, plural_message, _check_count(count))

    def pgettext(
        self,
        context: str,
        message: str,
        plural_message: str | None = None,
        count: int | None = None,
    ) -> str:
        """As `translate`, with a context; without one where there is none such."""
        key = f"{context}{CONTEXT_SEPARATOR}{message}"
        if plural_message is None:
            found = self.gettext(key)
            return self.gettext(message) if found == key else found
        count = _check_count(count)
        plural_key = f"{context}{CONTEXT_SEPARATOR}{plural_message}"
        found = self.ngettext(key, plural_key, count)
        if found in (key, plural_key):
            return self.ngettext(message, plural_message, count)
        return found


def _check_count(count: int | None) -> int:
    if count is None:
        raise TypeError("translate with a plural message needs the count")
    return count
