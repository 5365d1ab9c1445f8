"""Photo in memory to the released nets' input blob, beside a copy and OpenCV without codes."""

from __future__ import annotations

import pytest

from lbpmap.speed import cases


@pytest.mark.parametrize("shape", [(143, 181), (256, 256)], ids=["143x181", "256x256"])
def test_blob(shape, rows):
    rows(cases.BLOB, cases.photo(*shape))
