"""Measuring: turns, rows, results and what is shown of them. No test asserts a speed."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lbpmap import pictures
from lbpmap.cli import bench, main
from lbpmap.speed import cases, peers, plot, results, tables
from lbpmap.speed.measure import CALL, KERNEL, Row, measure
from lbpmap.speed.timing import COPY, ceiling, copies, in_turns

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks"
MACHINE = results.Machine("2026-01-02", "A chip", 2, "Linux x86_64", "GCC 12", {"NumPy": "2.4"})


def row(**changes):
    peers_ns = {"slow": 60.0, "fast": 6.0}
    return replace(
        Row("codes R=1, exact", CALL, "serial", 256, 256, 2.0, 1.0, 0.5, peers_ns, True), **changes
    )


class Clock:
    """A clock that only calls move on."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def __call__(self):
        return self.now

    def taking(self, name, *seconds):
        left = list(seconds)

        def call():
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_calls_take_turns_and_their_medians_are_given():
    clock = Clock()
    calls = {"a": clock.taking("a", 0.1), "b": clock.taking("b", 9.0, 0.2)}
    medians = in_turns(calls, 0.0, clock)
    assert medians == pytest.approx({"a": 0.1, "b": 0.2})
    # One call each to get ready, one to see how long they are, then in turns.
    assert "".join(clock.order) == "aabb" + "ab" * 2


def test_short_calls_fill_a_turn_after_one_that_warms_them():
    clock = Clock()
    # A call that comes first after another's turn is slow.
    medians = in_turns({"a": clock.taking("a", 1, 1e-4), "b": clock.taking("b", 1, 3e-4)}, 0, clock)
    assert medians == pytest.approx({"a": 1e-4, "b": 3e-4})
    turn = "a" * (1 + 5) + "bb"
    assert "".join(clock.order) == "aabb" + turn * 3


def test_a_call_leaves_when_it_had_its_share():
    clock = Clock()
    in_turns({"a": clock.taking("a", 0.1), "b": clock.taking("b", 1.0)}, 2.0, clock)
    assert clock.order.count("b") == 4
    assert clock.order.count("a") == pytest.approx(12, abs=1)


def test_copies_move_what_they_say():
    calls = copies(2001)
    assert all(name.startswith(COPY) for name in calls)
    for call in calls.values():
        cells = {id(c.cell_contents): c.cell_contents for c in call.__closure__}
        arrays = [c for c in cells.values() if isinstance(c, np.ndarray)]
        target = next(array for array in arrays if array.max() == 2)
        call()
        assert target.size == 1000
        assert target.max() == target.min() == 1
        target[:] = 2
    assert ceiling({"own": 0.5, COPY + "a": 3.0, COPY + "b": 2.0}) == 2.0


def test_a_row_is_compared_with_the_best():
    assert row().times_a_copy == 4
    assert row().best_peer == "fast"
    assert row().times_the_peer == 3
    assert row(peers={}).best_peer is None
    assert row(peers={}).times_the_peer is None


@pytest.mark.parametrize("case", cases.SHORT, ids=lambda case: case.name)
def test_every_case_is_exact_on_a_small_picture(case):
    for size in ((40, 50), (70, 130)):
        measured = measure(case, cases.photo(*size), 0.0, with_peers=False)
        assert [r.by for r in measured] in ([CALL, KERNEL], [CALL])
        assert all(r.exact and r.ns_per_pixel > 0 and r.gb_per_s > 0 for r in measured)


def test_large_pictures_are_held_against_the_reference_in_part_and_serial_in_whole(monkeypatch):
    case, picture = cases.codes_case(1, "released"), cases.photo(90, 100)
    monkeypatch.setattr(cases, "_REFERENCE_PIXELS", 100)
    assert cases.is_exact(case, picture)
    right = cases.lbp_codes
    for wrong_row in (3, 80):

        def wrong(gray, *args, out, row=wrong_row, **options):
            right(gray, *args, out=out, **options)
            if cases._isa.chosen() or len(gray) < 90:
                out[row % len(out), 5] ^= 1
            return out

        monkeypatch.setattr(cases, "lbp_codes", wrong)
        assert not cases.is_exact(case, picture)


def test_the_photo_is_the_same_at_every_size():
    small, large = cases.photo(143, 181), cases.photo(600, 700)
    np.testing.assert_array_equal(large[:143, :181], small)
    np.testing.assert_array_equal(large[256:512, :256], large[:256, :256][::-1])


def test_results_are_written_and_read(tmp_path):
    rows = [row(), row(by=KERNEL, ns_per_pixel=0.123456, peers={})]
    results.write(tmp_path / "r.json", MACHINE, rows)
    machine, again = results.read(tmp_path / "r.json")
    assert machine == MACHINE
    assert again == [rows[0], replace(rows[1], ns_per_pixel=0.1235)]
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("[]", "list indices"),
        ("{}", "it lacks 'machine'"),
        ('{"machine": {"date": 1}}', "date is 1"),
        ("[" * 100000, "recursion"),
        ('{"machine": {"date": "", "processor": "", "cores": 1, "system": "", "compiler": "", '
         '"versions": {}}, "rows": [{"case": "x", "by": 3}]}', "by is 3"),
    ],
)  # fmt: skip
def test_what_is_no_results_is_one_line(tmp_path, capsys, text, said):
    (tmp_path / "r.json").write_text(text)
    assert main(["bench", "--table", str(tmp_path / "r.json")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "r.json: expected results of 'lbpmap bench --json'" in error
    assert said in error


def every_case(**changes):
    return [row(case=name, **changes) for name in tables._CASES]


def test_the_readmes_table():
    large = every_case(height=4096, width=4096, ns_per_pixel=4.0, peers={"fast": 40.0})
    text = tables.markdown(MACHINE, [*every_case(), *large[:-1]])
    lines = text.splitlines()
    assert lines[2] == "| codes, R = 1, exact | 2 (4 x) | 4 (8 x) | 3 x / 10 x, fast |"
    assert lines[13] == "| RGB to a 3 x 224 x 224 blob | 2 (4 x) |  | 3 x, fast |"
    assert lines[15].startswith("A chip, serial, GCC 12, 2026-01-02; medians")
    assert "All outputs equal the reference's" in text
    large = [replace(large[0], peers={"slow": 8.0, "fast": 40.0})]
    assert "| 3 x, fast / 2 x, slow |" in tables.markdown(MACHINE, [*every_case(), *large])
    wrong = [*every_case(exact=False)[:1], *every_case()[1:]]
    assert "Not equal to the reference: codes R=1, exact." in tables.markdown(MACHINE, wrong)
    with pytest.raises(ValueError, match="have no case of the table: measure with 'lbpmap bench"):
        tables.markdown(MACHINE, [row(case="codes R=7, exact")])


@pytest.mark.checkout
@pytest.mark.skipif(not RESULTS.is_dir(), reason="the results are in the checkout")
@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_the_readme_shows_the_results_that_are_kept(isa):
    machine, rows = results.read(RESULTS / f"results_{isa}.json")
    assert {r.isa for r in rows} == {isa}
    assert all(r.exact for r in rows)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(rf"<!-- speed {isa} -->\n(.*?)<!-- end speed -->", readme, re.S)
    assert shown is not None
    assert shown.group(1).strip() == tables.markdown(machine, rows).strip()


@pytest.fixture
def quick(monkeypatch):
    """Make the command's pictures small and its time short."""
    monkeypatch.setattr(bench, "_SECONDS", 0.0)
    monkeypatch.setattr(bench, "_SIZES", ((48, 64), (64, 64)))
    monkeypatch.setattr(plot, "SIDES", (64, 96))
    monkeypatch.setattr(peers, "CODES", {"NumPy sort": lambda gray, radius: lambda: np.sort(gray)})


def test_the_command_prints_and_writes(quick, tmp_path, capsys):
    target = tmp_path / "r.json"
    assert main(["bench", "--isa", "serial", "--json", str(target)]) == 0
    said = capsys.readouterr().out
    assert "NumPy " + np.__version__ in said
    machine, rows = results.read(target)
    assert {(r.isa, r.exact) for r in rows} == {("serial", True)}
    assert {r.case for r in rows} == {case.name for case in cases.SHORT}
    assert tables.HEADER in said
    assert all(re.search(rf"^{re.escape(r.case)} ", said, re.M) for r in rows)
    assert machine.processor in said
    assert json.loads(target.read_text())["machine"]["cores"] == machine.cores


def test_the_plot_is_drawn(quick, tmp_path, capsys):
    pytest.importorskip("matplotlib", "3.5", reason="draws with matplotlib")
    assert main(["bench", "--plot", str(tmp_path / "p.png")]) == 0
    drawn = pictures.read(tmp_path / "p.png")
    assert drawn.shape[0] > 500
    # Each line's colour is there.
    for colour in ("#0072B2", "#D55E00", "#009E73"):
        value = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (drawn == value).all(axis=2).sum() > 100


def test_what_cannot_work_is_said_before_anything_is_timed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "_rows", None)
    wrong = [
        (["--json", str(tmp_path / "no" / "r.json")], "in a folder that exists"),
        (["--json", str(tmp_path)], "expected the name of a file"),
        (["--isa", "mmx"], "no instruction set 'mmx' here; available: serial"),
        (["--table", str(tmp_path / "gone.json")], "no such file; expected results"),
    ]
    for arguments, message in wrong:
        assert main(["bench", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["bench", "--plot", str(tmp_path / "p.png")]) == 2
    assert 'pip install "lbpmap[report]"' in capsys.readouterr().err


def test_an_output_that_is_wrong_fails_the_command(quick, capsys, monkeypatch):
    monkeypatch.setattr(cases, "is_exact", lambda case, picture: False)
    monkeypatch.setattr("lbpmap.speed.measure.is_exact", lambda case, picture: False)
    assert main(["bench"]) == 1
    assert " NO " in capsys.readouterr().out
