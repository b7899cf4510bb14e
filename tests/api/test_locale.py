"""pyfastloop.locale: translations from CSV and gettext, dates, lists, numbers."""

from __future__ import annotations

import datetime
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyfastloop import locale
from pyfastloop.locale import CSVLocale, GettextLocale, Locale


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    saved = (locale._translations, locale._use_gettext)
    default = locale._default_locale
    yield
    locale._publish(*saved)
    locale.set_default_locale(default)


FRENCH = """\
"school","école"
 "spaced" , " autour "
"%(num)d sign","%(num)d panneau","singular"
"%(num)d signs","%(num)d panneaux","plural"

"alone"
"explicit","explicite","unknown"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fr_FR.csv").write_text(FRENCH, encoding="utf-8")
    (tmp_path / "es.csv").write_text('"school","escuela"\n', encoding="utf-8-sig")
    (tmp_path / "pt_BR.csv").write_text('"school","escola"\n', encoding="utf-16")
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


# -- CSV -------------------------------------------------------------------------------


def test_translate(folder: Path):
    locale.load_translations(str(folder))
    french = locale.get("fr_FR")
    assert isinstance(french, CSVLocale)
    assert french.translate("school") == "école"
    assert french.translate("explicit") == "explicite"
    assert french.translate("unheard of") == "unheard of"
    sign = ("%(num)d sign", "%(num)d signs")
    assert french.translate(*sign, 1) == "%(num)d panneau"
    assert french.translate(*sign, 2) == "%(num)d panneaux"
    assert french.translate(*sign, 0) == "%(num)d panneaux"
    assert french.translate("one", "many", 2) == "many"
    with pytest.raises(TypeError, match="count"):
        french.translate(*sign)


def test_encodings(folder: Path):
    locale.load_translations(str(folder))
    assert locale.get("es").translate("school") == "escuela"
    assert locale.get("pt_BR").translate("school") == "escola"
    (folder / "pt_BR.csv").unlink()
    (folder / "fr_FR.csv").write_text('"school","école"', encoding="latin-1")
    with pytest.raises(UnicodeDecodeError):
        locale.load_translations(str(folder))
    locale.load_translations(str(folder), encoding="latin-1")
    assert locale.get("fr_FR").translate("school") == "école"


def test_what_cannot_be_used_is_logged(folder: Path, caplog: pytest.LogCaptureFixture):
    (folder / "fr_FR.csv").write_text('"a","b","c"\n"d","e"')
    (folder / "Not-A-Code.csv").write_text("")
    with caplog.at_level(logging.ERROR, "tornado.general"):
        locale.load_translations(str(folder))
    assert "Unrecognized plural indicator 'c'" in caplog.text
    assert "line 1" in caplog.text
    assert "Unrecognized locale 'Not-A-Code'" in caplog.text
    assert locale.get("fr_FR").translate("d") == "e"
    with pytest.raises(FileNotFoundError):
        locale.load_translations(str(folder / "nowhere"))


def test_closest_locale(folder: Path):
    locale.load_translations(str(folder))
    for codes, closest in [
        (("fr_FR",), "fr_FR"),
        (("fr-fr",), "fr_FR"),
        (("FR_fr",), "fr_FR"),
        (("es_MX",), "es"),
        (("es-Latn-MX",), "es"),
        (("pt-Latn-BR",), "pt_BR"),
        (("fr",), "en_US"),
        (("xx", "es_LA"), "es"),
        (("", "es"), "es"),
        (("xx",), "en_US"),
        ((), "en_US"),
    ]:
        assert locale.get(*codes).code == closest, codes
    assert set(locale.get_supported_locales()) == {"en_US", "es", "fr_FR", "pt_BR"}
    assert locale.get("es") is locale.get("es")
    with pytest.raises(KeyError, match="xx"):
        Locale.get("xx")


def test_default_locale(folder: Path):
    locale.load_translations(str(folder))
    locale.set_default_locale("fr_FR")
    assert locale.get("xx").translate("school") == "école"
    assert "en_US" not in locale.get_supported_locales()
    locale.set_default_locale("tlh")
    assert locale.get("xx").code == "tlh"
    assert locale.get("xx").translate("school") == "school"


def test_loading_again_replaces_what_was_loaded(folder: Path):
    locale.load_translations(str(folder))
    assert locale.get("es").translate("school") == "escuela"
    (folder / "es.csv").write_text('"school","colegio"')
    locale.load_translations(str(folder))
    assert locale.get("es").translate("school") == "colegio"


def test_csv_knows_no_contexts(folder: Path, caplog: pytest.LogCaptureFixture):
    locale.load_translations(str(folder))
    with caplog.at_level(logging.WARNING, "tornado.general"):
        assert locale.get("fr_FR").pgettext("building", "school") == "école"
        assert "pgettext is not supported" in caplog.text
        caplog.clear()
        assert locale.get("en_US").pgettext("building", "school") == "school"
        assert not caplog.text


# -- gettext ---------------------------------------------------------------------------


def write_mo(path: Path, entries: dict[str, str]) -> None:
    """A file as msgfmt writes it: two tables of lengths and offsets, then the texts."""
    header = (
        "Content-Type: text/plain; charset=UTF-8\n"
        "Plural-Forms: nplurals=2; plural=(n > 1);\n"
    )
    pairs = [
        (key.encode() + b"\0", value.encode() + b"\0")
        for key, value in sorted({"": header, **entries}.items())
    ]
    count = len(pairs)
    offset = 28 + 16 * count
    tables: list[bytes] = []
    for side in (0, 1):
        for pair in pairs:
            tables.append(struct.pack("<II", len(pair[side]) - 1, offset))
            offset += len(pair[side])
    path.parent.mkdir(parents=True)
    path.write_bytes(
        struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
        + b"".join(tables)
        + b"".join(key for key, _ in pairs)
        + b"".join(value for _, value in pairs)
    )


def test_gettext(tmp_path: Path):
    write_mo(
        tmp_path / "fr_FR" / "LC_MESSAGES" / "shop.mo",
        {
            "school": "école",
            "right": "droite",
            "sign\0signs": "panneau\0panneaux",
            "law\x04right": "le droit",
            "org\x04club\0org\x04clubs": "le club\0les clubs",
        },
    )
    (tmp_path / "de").mkdir()
    (tmp_path / "file").write_text("")
    locale.load_gettext_translations(str(tmp_path), "shop")
    assert set(locale.get_supported_locales()) == {"en_US", "fr_FR"}
    french = locale.get("fr_FR")
    assert isinstance(french, GettextLocale)
    assert french.translate("school") == "école"
    assert french.translate("unheard of") == "unheard of"
    assert french.translate("sign", "signs", 0) == "panneau"
    assert french.translate("sign", "signs", 2) == "panneaux"
    assert french.pgettext("law", "right") == "le droit"
    assert french.pgettext("other", "right") == "droite"
    assert french.pgettext("other", "unheard of") == "unheard of"
    assert french.pgettext("org", "club", "clubs", 1) == "le club"
    assert french.pgettext("org", "club", "clubs", 2) == "les clubs"
    assert french.pgettext("other", "sign", "signs", 2) == "panneaux"
    assert french.pgettext("other", "x", "xs", 2) == "xs"
    with pytest.raises(TypeError, match="count"):
        french.translate("sign", "signs")
    assert isinstance(locale.get("en_US"), CSVLocale)


def test_broken_gettext_files_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "fr_FR" / "LC_MESSAGES" / "shop.mo"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a catalogue")
    with caplog.at_level(logging.WARNING, "tornado.general"):
        locale.load_gettext_translations(str(tmp_path), "shop")
    assert "Cannot load translation for 'fr_FR'" in caplog.text
    assert "No translations found" in caplog.text


# -- dates -----------------------------------------------------------------------------

NOW = datetime.datetime(2026, 3, 17, 11, 26, 30, 500000, tzinfo=datetime.UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return NOW

    names = {**vars(datetime), "datetime": Fixed}
    monkeypatch.setattr(locale, "datetime", SimpleNamespace(**names))


HOUR = 3600
DAY = 24 * HOUR


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("seconds", "text", "shorter", "not_relative"),
    [
        (0, "0 seconds ago", "0 seconds ago", "11:26 am"),
        (1, "1 second ago", "1 second ago", "11:26 am"),
        (49, "49 seconds ago", "49 seconds ago", "11:25 am"),
        (50, "1 minute ago", "1 minute ago", "11:25 am"),
        (91, "2 minutes ago", "2 minutes ago", "11:24 am"),
        (2999, "50 minutes ago", "50 minutes ago", "10:36 am"),
        (3000, "1 hour ago", "1 hour ago", "10:36 am"),
        (5401, "2 hours ago", "2 hours ago", "9:56 am"),
        (DAY - 1, "24 hours ago", "24 hours ago", "11:26 am"),
        (DAY, "yesterday at 11:26 am", "yesterday", "Monday at 11:26 am"),
        (DAY + 12 * HOUR, "Sunday at 11:26 pm", "Sunday", "Sunday at 11:26 pm"),
        (4 * DAY, "Friday at 11:26 am", "Friday", "Friday at 11:26 am"),
        (5 * DAY, "March 12 at 11:26 am", "March 12", "March 12 at 11:26 am"),
        (333 * DAY, "April 18 at 11:26 am", "April 18", "April 18 at 11:26 am"),
        (334 * DAY, "April 17, 2025 at 11:26 am", "April 17, 2025",
         "April 17, 2025 at 11:26 am"),
        (-59, "0 seconds ago", "0 seconds ago", "March 17, 2026 at 11:27 am"),
        (-61, "March 17, 2026 at 11:27 am", "March 17, 2026",
         "March 17, 2026 at 11:27 am"),
        (-2 * DAY, "March 19, 2026 at 11:26 am", "March 19, 2026",
         "March 19, 2026 at 11:26 am"),
    ],
)  # fmt: skip
def test_format_date(seconds: float, text: str, shorter: str, not_relative: str):
    english = Locale.get("en_US")
    date = NOW - datetime.timedelta(seconds=seconds)
    assert english.format_date(date) == text
    assert english.format_date(date.replace(tzinfo=None)) == text
    assert english.format_date(date.timestamp()) == text
    assert english.format_date(date, shorter=True) == shorter
    assert english.format_date(date, relative=False) == not_relative
    full = english.format_date(date, full_format=True)
    assert full.startswith(f"{date:%B} {date.day}, {date.year} at ")


def test_format_date_in_other_languages():
    date = datetime.datetime(2013, 4, 28, 18, 35)
    for code, full in [
        ("en", "April 28, 2013 at 6:35 pm"),
        ("fr_FR", "April 28, 2013 at 18:35"),
        ("zh_CN", "April 28, 2013 at 下午6:35"),
    ]:
        assert CSVLocale(code, {}).format_date(date, full_format=True) == full
    german = CSVLocale(
        "de_DE",
        {
            "unknown": {
                "%(month_name)s %(day)s, %(year)s at %(time)s": "%(day)s. "
                "%(month_name)s %(year)s um %(time)s",
                "%(weekday)s, %(month_name)s %(day)s": "%(weekday)s, %(day)s. "
                "%(month_name)s",
                "March": "März",
                "Monday": "Montag",
            }
        },
    )
    date = datetime.datetime(2013, 3, 25, 0, 5)
    assert german.format_date(date, full_format=True) == "25. März 2013 um 0:05"
    assert german.format_day(date) == "Montag, 25. März"


def test_offsets_and_time_zones():
    english = CSVLocale("en_US", {})
    date = datetime.datetime(2013, 4, 28, 0, 5)
    assert english.format_date(date, gmt_offset=480, full_format=True) == (
        "April 27, 2013 at 4:05 pm"
    )
    aware = date.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=5)))
    assert english.format_date(aware, full_format=True) == "April 28, 2013 at 12:05 am"
    assert english.format_day(date, gmt_offset=480) == "Saturday, April 27"
    assert english.format_day(date, dow=False) == "April 28"


# -- lists, numbers, names -------------------------------------------------------------


def test_list():
    english = CSVLocale("en_US", {})
    assert english.list([]) == ""
    assert english.list(["A"]) == "A"
    assert english.list(["A", "B"]) == "A and B"
    assert english.list(["A", "B", "C"]) == "A, B and C"
    assert CSVLocale("fa_IR", {}).list(["A", "B", "C"]) == "A و B and C"


def test_friendly_number():
    assert CSVLocale("en_US", {}).friendly_number(1000000) == "1,000,000"
    assert CSVLocale("en", {}).friendly_number(-1234) == "-1,234"
    assert CSVLocale("fr_FR", {}).friendly_number(1000000) == "1000000"


def test_names_and_directions():
    assert CSVLocale("fr_FR", {}).name == "Français"
    assert CSVLocale("xx", {}).name == "Unknown"
    assert CSVLocale("he_IL", {}).rtl and not CSVLocale("fr_FR", {}).rtl
    assert locale.LOCALE_NAMES["de_DE"] == {"name_en": "German", "name": "Deutsch"}


def test_base_locale_is_abstract():
    base = Locale("xx")
    with pytest.raises(NotImplementedError):
        base.translate("x")
    with pytest.raises(NotImplementedError):
        base.pgettext("x", "y")
