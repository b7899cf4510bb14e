"""The plain C tests under tests/c, each compiled with sanitizers and run.

The pure layers (csrc/base, csrc/proto) need no Python, so their tests are C programs:
one per file, exit status 0 when every check held. Here each is one pytest item. The
compiler is ``CC`` or gcc; objects of the layers are built once a session.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
COMPILER = shlex.split(os.environ.get("CC") or "gcc")
FLAGS = [
    *("-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Werror"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
    *("-fno-omit-frame-pointer", "-D_GNU_SOURCE=1"),
    *("-I", str(ROOT / "csrc"), "-I", str(ROOT / "tests" / "c")),
]
LIMIT_SECONDS = 120

pytestmark = pytest.mark.skipif(
    shutil.which(COMPILER[-1]) is None, reason=f"no C compiler called {COMPILER[-1]}"
)


def compile_c(arguments: list[str]) -> None:
    done = subprocess.run(
        [*COMPILER, *FLAGS, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def layer_objects(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("c-objects")
    objects = []
    for layer in ("base", "proto"):
        for source in sorted((ROOT / "csrc" / layer).glob("*.c")):
            target = folder / f"{layer}-{source.stem}.o"
            compile_c(["-c", str(source), "-o", str(target)])
            objects.append(str(target))
    return objects


@pytest.mark.parametrize("source", PROGRAMS, ids=lambda path: path.stem)
def test_c_program_passes(
    source: Path, layer_objects: list[str], tmp_path: Path
) -> None:
    program = tmp_path / source.stem
    wrap = "-Wl,--wrap=malloc,--wrap=realloc"
    compile_c([str(source), *layer_objects, wrap, "-o", str(program)])
    environment = {key: os.environ[key] for key in os.environ if key != "LD_PRELOAD"}
    environment["UBSAN_OPTIONS"] = "print_stacktrace=1"
    done = subprocess.run(
        [str(program)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
