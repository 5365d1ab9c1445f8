"""Where the tests' reference data lie, and what to say when they do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _shared() -> Path:
    """`shared/data` beside the checkout, or where LBPMAP_SHARED says."""
    named = os.environ.get("LBPMAP_SHARED")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of reference data; skip the test where it is absent."""
    folder = _shared()
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder} (set LBPMAP_SHARED to their folder)")
    return folder
