"""The extension module; all metadata stand in pyproject.toml."""

import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

# A fused multiply-add rounds once where lbp.m rounds twice, and ties would fall otherwise.
FLAGS = [] if sys.platform == "win32" else ["-std=c99", "-O3", "-ffp-contract=off"]

CORE = Extension(
    "lbpmap._kernels",
    sources=[
        "lbpmap/_kernels.pyx",
        *sorted(glob("csrc/*.c")),
    ],
    depends=sorted(glob("csrc/*.h")),
    include_dirs=["csrc"],
    extra_compile_args=FLAGS,
)

setup(ext_modules=cythonize([CORE], language_level=3))
