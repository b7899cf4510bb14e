"""The package itself: lazy modules, versions, the platform it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pyfastloop


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_version():
    assert pyfastloop.version == ".".join(map(str, pyfastloop.version_info[:3]))
    assert len(pyfastloop.version_info) == 4


def test_submodules_load_when_they_are_asked_for():
    run(
        "import sys, pyfastloop\n"
        "assert 'pyfastloop.util' not in sys.modules\n"
        "assert 'pyfastloop.escape' not in sys.modules\n"
        "pyfastloop.util.ObjectDict\n"
        "assert 'pyfastloop.util' in sys.modules\n"
        "assert 'pyfastloop.escape' not in sys.modules\n"
    )


def test_names_are_listed_without_being_loaded():
    run(
        "import sys, pyfastloop\n"
        "assert {'web', 'run', 'Loop', 'version'} <= set(dir(pyfastloop))\n"
        "assert {'web', 'ioloop', 'websocket', 'run'} <= set(pyfastloop.__all__)\n"
        "assert set(pyfastloop.__all__) <= set(dir(pyfastloop))\n"
        "assert 'pyfastloop.web' not in sys.modules\n"
    )


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pyfastloop.nonsense  # noqa: B018
    with pytest.raises(ImportError):
        from pyfastloop import nonsense  # noqa: F401


def test_other_platforms_are_told_at_import():
    run(
        "import sys\n"
        "sys.platform = 'darwin'\n"
        "try:\n"
        "    import pyfastloop\n"
        "except ImportError as error:\n"
        "    assert 'Linux' in str(error) and 'darwin' in str(error)\n"
        "else:\n"
        "    raise SystemExit('imported')\n"
    )
