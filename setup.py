"""The one optional C extension; everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # No Python module: ctypes opens it.  Where it cannot be built, storage/crypt.py does
        # without it.
        Extension(
            "drivebay.storage._xts",
            ["src/drivebay/storage/xts.c", "src/drivebay/storage/pieces.c"],
            depends=["src/drivebay/storage/xts.h", "src/drivebay/storage/xts_width.h"],
            extra_compile_args=["-O2", "-Wall", "-Wextra"],
            libraries=["dl"],
            optional=True,
        )
    ]
)
