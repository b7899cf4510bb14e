"""The extension module; everything else about the package stands in pyproject.toml."""

import os
import sys
from glob import glob

from setuptools import Extension, setup

if not sys.platform.startswith("linux"):
    raise SystemExit(
        "pyfastloop runs on Linux only: its event loop is built on epoll and eventfd, "
        f"which {sys.platform} does not have."
    )

flags = ["-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wshadow"]
if os.environ.get("PYFASTLOOP_WERROR"):
    flags.append("-Werror")

setup(
    ext_modules=[
        Extension(
            "pyfastloop._core",
            sources=sorted(glob("csrc/*/*.c")) + ["csrc/module.c"],
            depends=sorted(glob("csrc/*/*.h")),
            include_dirs=["csrc"],
            extra_compile_args=flags,
            define_macros=[("_GNU_SOURCE", "1")],
        )
    ]
)
