"""The plain C tests under tests/c, each compiled and run: here, and as on arm64.

The pure layers (csrc/base, csrc/proto) need no Python, so their tests are C programs:
one per file, exit status 0 when every check held. Here each is one pytest item. The
compiler is ``CC`` or gcc, with sanitizers; objects of the layers are built once a
session. What uses NEON is run by an emulator, too, compiled by Debian's cross compiler.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
FLAGS = [
    *("-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Werror"),
    *("-fno-omit-frame-pointer", "-D_GNU_SOURCE=1"),
    *("-I", str(ROOT / "csrc"), "-I", str(ROOT / "tests" / "c")),
]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
LIMIT_SECONDS = 240


@dataclass(frozen=True)
class Machine:
    """What the programs are compiled with, and what runs them."""

    name: str
    compiler: list[str]
    runner: list[str]

    def missing(self) -> list[str]:
        needed = [self.compiler[0], *self.runner[:1]]
        return [program for program in needed if shutil.which(program) is None]

    def compile(self, arguments: list[str]) -> None:
        done = subprocess.run(
            [*self.compiler, *FLAGS, *arguments],
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(self, program: Path) -> None:
        environment = {
            key: os.environ[key] for key in os.environ if key != "LD_PRELOAD"
        }
        environment["UBSAN_OPTIONS"] = "print_stacktrace=1"
        done = subprocess.run(
            [*self.runner, str(program)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


HERE = Machine("here", [*shlex.split(os.environ.get("CC") or "gcc"), *SANITIZERS], [])
ARM64 = Machine(
    "arm64",
    ["aarch64-linux-gnu-gcc"],
    ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"],
)


@pytest.fixture(scope="session", params=[HERE, ARM64], ids=lambda machine: machine.name)
def machine(request: pytest.FixtureRequest) -> Machine:
    one: Machine = request.param
    if missing := one.missing():
        pytest.skip(f"{' and '.join(missing)} is not installed")
    return one


@pytest.fixture(scope="session")
def layer_objects(
    machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    folder = tmp_path_factory.mktemp("c-objects")
    objects = []
    for layer in ("base", "proto"):
        for source in sorted((ROOT / "csrc" / layer).glob("*.c")):
            target = folder / f"{layer}-{source.stem}.o"
            machine.compile(["-c", str(source), "-o", str(target)])
            objects.append(str(target))
    return objects


@pytest.mark.parametrize("source", PROGRAMS, ids=lambda path: path.stem)
def test_c_program_passes(
    source: Path, machine: Machine, layer_objects: list[str], tmp_path: Path
) -> None:
    program = tmp_path / source.stem
    wrap = "-Wl,--wrap=malloc,--wrap=realloc"
    machine.compile([str(source), *layer_objects, wrap, "-o", str(program)])
    machine.run(program)
