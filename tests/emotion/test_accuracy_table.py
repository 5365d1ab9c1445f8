"""The paper's table, and the picture of a confusion matrix."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from lbpmap.emotion import confusion
from lbpmap.emotion.accuracy_table import accuracy_table
from lbpmap.emotion.registry import find_nets

COLUMNS = ["rgb", "lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10"]


def test_the_papers_form(make_net):
    for name, how in (("A_rgb", "rgb"), ("B_rgb", "rgb"), ("A_lbp", "lbp"), ("other", "lbp")):
        path = make_net(name, how) / "model.toml"
        if name == "other":
            path.write_text('architecture = "A"\n' + path.read_text())
    nets = find_nets()
    table = accuracy_table(
        [(nets["A_rgb"], 0.5), (nets["B_rgb"], 0.25), (nets["A_lbp"], 0.625), (nets["other"], 0)],
        ensemble=("ensemble", 0.75),
    )
    assert list(table.columns) == [*COLUMNS, "all"]
    assert table.rows == (
        ("A", (0.5, 0.625, None, None, None, None)),
        ("B", (0.25, None, None, None, None, None)),
        ("other", (None, 0, None, None, None, None)),
        ("ensemble", (None, None, None, None, None, 0.75)),
    )
    rows = list(csv.reader(io.StringIO(table.csv())))
    assert rows[0] == ["net", *COLUMNS, "all"]
    assert rows[1] == ["A", "0.5", "0.625", "", "", "", ""]
    lines = table.markdown().splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:4]] == ["A", "50.00", "**62.50**"]
    assert len({len(line) for line in lines}) == 1
    assert accuracy_table([(nets["A_rgb"], 0.5)]).columns == tuple(COLUMNS)


def test_a_confusion_matrix_is_drawn():
    labels = ["Angry", "Disgust", "Fear"]
    counts = np.array([[9, 1, 0], [0, 0, 0], [2, 2, 4]])
    drawn = confusion.draw(counts, labels, "a net")
    blank = confusion.draw(np.zeros((3, 3), int), labels, "a net")
    assert drawn.dtype == np.uint8
    assert drawn.shape == blank.shape
    changed = (drawn != blank).any(axis=2)
    # The rows of Angry and Fear differ, that of Disgust, which has no picture, does not.
    rows = np.flatnonzero(changed.any(axis=1))
    assert not np.isin(np.arange(160, 210), rows).any()
    blue = np.flatnonzero((drawn[:, :, 2].astype(int) - drawn[:, :, 0] > 60).any(axis=1))
    assert blue.min() < 160 < blue.max()


def test_many_labels_are_shades():
    counts = np.eye(300, dtype=int)
    drawn = confusion.draw(counts, [str(k) for k in range(300)])
    assert drawn.shape[0] < 1400
    assert drawn.shape[1] < 1400


@pytest.mark.parametrize("label", ["x", "a very long label that has to be cut"])
def test_labels_of_any_length(label):
    assert confusion.draw([[1, 0], [0, 1]], [label, "b"], "t" * 80).shape[1] > 300
