"""What every benchmark prints: the machine, and speeds beside a copy of the same bytes and peers.

    python -m pytest benchmarks -s                      small: as CI runs it
    LBPMAP_BENCH=full python -m pytest benchmarks -s    1080 x 1920, 4096 x 4096; longer turns

pytest-benchmark's own table has absolute times, which other users of the machine move by a third;
the ratios printed are of medians taken in turns (`lbpmap.speed.timing`). Nothing is asserted of
either, only that outputs are exact. A row "call" is the public function as Python calls it, a row
"kernel" the compiled function below it, without checks and look-ups of names.
"""

from __future__ import annotations

import os
import re

import pytest

from lbpmap.speed import cases, peers, results, tables
from lbpmap.speed.measure import measure
from lbpmap.speed.timing import ceiling, copies, in_turns

FULL = os.environ.get("LBPMAP_BENCH") == "full"
SECONDS = 2.0 if FULL else 0.1
SIZES = [(143, 181), (256, 256)] + FULL * [(1080, 1920), (4096, 4096)]


def pytest_report_header() -> list[str]:
    absent = [f"not installed: {', '.join(peers.missing())}"] if peers.missing() else []
    return [*tables.describe(results.this_machine()).splitlines(), *absent]


@pytest.fixture(params=SIZES, ids=[f"{height}x{width}" for height, width in SIZES])
def size(request):
    return request.param


@pytest.fixture
def rows(benchmark):
    """Measure a case on a picture, print its rows, and hold its outputs to be exact."""

    def run(case, picture):
        measured = measure(case, picture, SECONDS)
        print("\n" + "\n".join(map(tables.line, measured)))
        benchmark.extra_info.update(
            ns_per_pixel=round(measured[0].ns_per_pixel, 3),
            times_a_copy=round(measured[0].times_a_copy, 1),
            **{f"times {name}": round(ns / measured[0].ns_per_pixel, 1)
               for name, ns in measured[0].peers.items()},
        )  # fmt: skip
        benchmark(case.prepare(picture).call)
        assert all(row.exact for row in measured)

    return run


@pytest.fixture
def photo(size):
    return cases.photo(*size)


@pytest.fixture
def beside_a_copy(benchmark):
    """Time `call` in turns with a copy of the bytes that it reads and writes."""

    def run(call, read_bytes, pixels):
        result = benchmark(call)
        total = read_bytes + result.nbytes
        medians = in_turns({"call": call, **copies(total)}, SECONDS)
        own, copy = medians["call"], ceiling(medians)
        benchmark.extra_info.update(
            ns_per_pixel=round(own / pixels * 1e9, 3), times_a_copy=round(own / copy, 1)
        )
        print(
            f"\n{benchmark.name}: {own / pixels * 1e9:.3f} ns/pixel, {total / own / 1e9:.2f} GB/s, "
            f"{own / copy:.1f} x a copy"
        )
        return result

    return run


@pytest.fixture(scope="session")
def training_files():
    """Give a function that writes a deploy layout with a loss, and its solver."""

    def write(deploy, folder, batch, *, dropout):
        layers = re.split(r"\n(?=layers \{)", deploy.read_text())[1:]
        left_out = "prob" if dropout else r"drop\d|prob"
        kept = [text for text in layers if not re.search(rf'name: "({left_out})"', text)]
        inputs = "".join(
            f'input: "{name}" input_shape {{ {" ".join(f"dim: {n}" for n in shape)} }}\n'
            for name, shape in (("data", (batch, 3, 224, 224)), ("label", (batch,)))
        )
        loss = (
            'layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc8" bottom: "label" top: "loss" }'
        )
        net, solver = folder / "train.prototxt", folder / "solver.prototxt"
        net.write_text("\n".join([inputs, *kept, loss]))
        solver.write_text(
            f'net: "{net}" base_lr: 1e-3 lr_policy: "fixed" momentum: 0.9 weight_decay: 5e-4'
        )
        return solver

    return write
