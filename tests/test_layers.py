"""csrc/README.md's layers and laws, as far as a look at the text can hold them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
SOURCES = sorted(p for p in CSRC.rglob("*") if p.suffix in (".c", ".h"))

# What a folder may include, its own files included.
MAY_INCLUDE = {
    "base": {"base"},
    "sys": {"base", "sys"},
    "proto": {"base", "proto"},
    "core": {"base", "sys", "proto", "core"},
    "net": {"base", "sys", "proto", "core", "net"},
    "http": {"base", "sys", "proto", "core", "net", "http"},
    "web": {"base", "sys", "proto", "core", "net", "http", "web"},
}
WITHOUT_PYTHON = ("base", "sys", "proto")

SYSTEM_CALLS = (
    "accept accept4 access bind chdir chmod chown clock_gettime clock_nanosleep close "
    "connect dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait "
    "epoll_pwait2 epoll_wait eventfd eventfd_read eventfd_write execv execve execvp "
    "fchmod fcntl flock fork fstat fsync ftruncate futex getaddrinfo getnameinfo "
    "getpeername getpid getppid getrandom getrlimit getsockname getsockopt "
    "gettimeofday ioctl kill link listen lseek lstat madvise mkdir mmap mprotect "
    "mremap munmap nanosleep open openat openat2 pidfd_open pipe pipe2 poll "
    "posix_fadvise ppoll prctl pread preadv prlimit pselect pwrite pwritev raise read "
    "readv recv recvfrom recvmmsg recvmsg rename rmdir select send sendfile sendmmsg "
    "sendmsg sendto setrlimit setsockopt shutdown sigaction signal signalfd sleep "
    "socket socketpair splice stat statx syscall tee time timerfd_create "
    "timerfd_settime unlink usleep vfork vmsplice wait waitid waitpid write writev"
)

# Tables that CPython's own declarations take as not const.
TABLES = re.compile(
    r"static (?:struct )?(?:PyMethodDef|PyGetSetDef|PyMemberDef|PyType_Slot|PyType_Spec"
    r"|PyModuleDef_Slot|PyModuleDef|PyStructSequence_Field|PyStructSequence_Desc) \w+"
    r"|static char \*(?:const )?\w+\[\]"
)
# The exceptions that csrc/README.md names.
MUTABLE = {
    "base/scan.c": "the CPU dispatch table",
    "web/hooks.c": "the epoch of patched classes",
}


def name(path: Path) -> str:
    return path.relative_to(CSRC).as_posix()


def folder(path: Path) -> str:
    parts = path.relative_to(CSRC).parts
    return parts[0] if len(parts) > 1 else ""


def code(path: Path) -> str:
    """The text with comments blanked and strings emptied; lines keep their numbers."""

    def blank(match: re.Match[str]) -> str:
        text = match[0]
        if text[0] in "\"'":
            return text[0] * 2
        return re.sub(r"[^\n]", " ", text)

    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, blank, path.read_text(), flags=re.DOTALL)


def found(path: Path, pattern: str, text: str | None = None) -> list[str]:
    lines = (code(path) if text is None else text).splitlines()
    regex = re.compile(pattern)
    return [
        f"csrc/{name(path)}:{number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if regex.search(line)
    ]


def test_there_are_sources() -> None:
    assert SOURCES


def test_every_folder_is_a_layer() -> None:
    assert {folder(p) for p in SOURCES} <= {*MAY_INCLUDE, ""}
    assert {name(p) for p in SOURCES if folder(p) == ""} <= {"module.c"}


def test_includes_go_only_to_layers_above() -> None:
    wrong = []
    for path in SOURCES:
        if folder(path) == "":
            continue
        for line in path.read_text().splitlines():
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if match is None:
                continue
            target = match[1]
            layer = target.split("/")[0] if "/" in target else folder(path)
            if layer not in MAY_INCLUDE[folder(path)]:
                wrong.append(f"csrc/{name(path)} includes {target}")
    assert wrong == []


def test_included_files_exist() -> None:
    wrong = []
    for path in SOURCES:
        for target in re.findall(
            r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M
        ):
            if not (CSRC / target).exists() and not (path.parent / target).exists():
                wrong.append(f"csrc/{name(path)} includes {target}, which is not there")
    assert wrong == []


def test_no_system_call_stands_outside_sys() -> None:
    pattern = r"(?<![\w.>])(?:" + "|".join(SYSTEM_CALLS.split()) + r")\s*\("
    wrong = [
        line
        for path in SOURCES
        if folder(path) != "sys"
        for line in found(path, pattern)
    ]
    assert wrong == []


def test_the_lower_layers_do_not_know_python() -> None:
    wrong = []
    for path in SOURCES:
        if folder(path) in WITHOUT_PYTHON:
            pattern = r"#\s*include\s*<Python\.h>|\bPy[A-Z_]\w*|\b_Py\w*"
            wrong += found(path, pattern)
    assert wrong == []


@pytest.mark.parametrize("layer", WITHOUT_PYTHON)
def test_the_lower_layers_compile_without_python(layer: str) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed")
    files = sorted((CSRC / layer).glob("*.c"))
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow", "-Werror"]
    if not files:
        return
    done = subprocess.run(
        [gcc, *flags, "-fsyntax-only", f"-I{CSRC}", *map(str, files)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_headers_stand_on_their_own_guard() -> None:
    wrong = []
    for path in SOURCES:
        if path.suffix == ".h":
            guard = "FL_" + re.sub(r"\W", "_", name(path)).upper()
            if f"#ifndef {guard}\n#define {guard}\n" not in path.read_text():
                wrong.append(f"csrc/{name(path)} has no guard {guard}")
    assert wrong == []


def test_every_file_says_what_it_is() -> None:
    wrong = []
    for path in SOURCES:
        text = path.read_text()
        top = text[: text.find("*/")]
        if not text.startswith(f"/* {path.name} -- ") or "Layer:" not in top:
            wrong.append(f"csrc/{name(path)} does not begin with its name and layer")
    assert wrong == []


def test_nothing_static_is_mutable() -> None:
    """State hangs on the module or on a loop."""
    wrong = []
    for path in SOURCES:
        if name(path) in MUTABLE:
            continue
        for line in found(path, r"^\s*static\b"):
            declaration = line.split(": ", 1)[1]
            declares_value = re.search(r"[;={]\s*$|=", declaration)
            is_function = re.search(r"^[^=]*\(", declaration)
            if (
                not declares_value
                or is_function
                or re.search(r"\bconst\b|_Static_assert|\binline\b", declaration)
                or TABLES.match(declaration)
            ):
                continue
            wrong.append(line)
    assert wrong == []


def test_what_dies_is_out_of_the_collectors_sight_first() -> None:
    """Else a collection that its last moments cause destroys it a second time."""
    harmless = r"Py_TYPE|if|\w+_[cC]ast|\w+_list|PyObject_CallFinalizerFromDealloc"
    dealloc = re.compile(r"^\w+dealloc\(PyObject \*\w+\)\n{(.*?)^}", re.S | re.M)
    wrong = []
    for path in SOURCES:
        for body in dealloc.findall(code(path)):
            before, untracks, _ = body.partition("PyObject_GC_UnTrack(")
            if untracks:
                calls = set(re.findall(r"(\w+)\(", before))
                wrong += [
                    f"csrc/{name(path)}: {call} before PyObject_GC_UnTrack"
                    for call in calls
                    if not re.fullmatch(harmless, call)
                ]
    assert wrong == []


def test_interpreter_versions_are_asked_in_one_file() -> None:
    wrong = []
    for path in SOURCES:
        if name(path) != "core/compat.h":
            wrong += found(path, r"PY_VERSION_HEX|PY_(?:MAJOR|MINOR)_VERSION")
    assert wrong == []


def test_only_the_public_c_api_is_used() -> None:
    pattern = r"\b_Py(?!Bytes_Resize\b)[A-Z]\w*|Py_BUILD_CORE|internal/pycore"
    assert [line for path in SOURCES for line in found(path, pattern)] == []


def test_nothing_is_left_to_do() -> None:
    wrong = []
    for path in SOURCES:
        wrong += found(path, r"\b(?:TODO|FIXME|XXX)\b", path.read_text())
    assert wrong == []
