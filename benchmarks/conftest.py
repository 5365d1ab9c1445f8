"""What every benchmark prints: the machine, and speeds beside a copy of the same bytes."""

from __future__ import annotations

import platform

import numpy as np
import pytest

import lbpmap


def pytest_report_header() -> str:
    info = lbpmap.build_info()
    return (
        f"lbpmap {info['version']} ({info['chosen']}, {info['compiler']}), "
        f"Python {platform.python_version()}, NumPy {np.__version__}, {_processor()}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return f"{len(names)} x {names[0]}" if names else platform.machine()


@pytest.fixture
def beside_a_copy(benchmark):
    """Time `call`, and say how it compares with copying the bytes it reads and writes."""

    def run(call, read_bytes, pixels):
        result = benchmark(call)
        total = read_bytes + result.nbytes
        source = np.zeros(total // 2, np.uint8)
        target = np.empty_like(source)
        copies = [_seconds(lambda: np.copyto(target, source)) for _ in range(25)]
        copy, own = float(np.median(copies)), benchmark.stats.stats.median
        benchmark.extra_info.update(
            ns_per_pixel=round(own / pixels * 1e9, 3),
            gb_per_s=round(total / own / 1e9, 2),
            times_a_copy=round(own / copy, 1),
        )
        print(
            f"\n{benchmark.name}: {own / pixels * 1e9:.3f} ns/pixel, {total / own / 1e9:.2f} GB/s, "
            f"{own / copy:.1f} x a copy"
        )
        return result

    return run


def _seconds(call) -> float:
    import time

    start = time.perf_counter()
    call()
    return time.perf_counter() - start
