"""The paper's table: architectures by representations, and the ensemble of all."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from lbpmap.emotion.registry import NetFiles
from lbpmap.representations import REPRESENTATIONS, resolve

_TOGETHER = "all"


@dataclass(frozen=True)
class AccuracyTable:
    """Accuracies, from 0 to 1.

    Attributes
    ----------
    columns : tuple of str
        Representations; "all" behind them where there is an ensemble.
    rows : tuple of (str, tuple of float or None)
        An architecture, and an accuracy a column, None where there is no such net. The last row is
        the ensemble's, where there is one.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]

    def markdown(self) -> str:
        """Write it as a Markdown table, in percent; the best of each row is bold."""
        lines = [["net", *self.columns], ["---", *["---:"] * len(self.columns)]]
        for name, values in self.rows:
            best = max((value for value in values if value is not None), default=None)
            shown = ["" if value is None else f"{100 * value:.2f}" for value in values]
            several = sum(value is not None for value in values) > 1
            marked = [
                f"**{text}**" if several and value == best else text
                for text, value in zip(shown, values)
            ]
            lines.append([name.replace("|", r"\|"), *marked])
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        rows = []
        for line in lines:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
            rows.append(f"| {' | '.join(cells)} |\n")
        return "".join(rows)

    def csv(self) -> str:
        """Write it as CSV, from 0 to 1 and with every digit; an empty cell where there is none."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["net", *self.columns])
        for name, values in self.rows:
            writer.writerow([name, *("" if value is None else repr(value) for value in values)])
        return text.getvalue()


def accuracy_table(
    nets: Sequence[tuple[NetFiles, float]], *, ensemble: tuple[str, float] | None = None
) -> AccuracyTable:
    """Arrange the accuracies of nets in the paper's form.

    Parameters
    ----------
    nets : sequence of (NetFiles, float)
        Nets and their accuracies. Where two are of one architecture and representation, the
        second has a row of its own name.
    ensemble : (str, float), optional
        What to call the ensemble, and its accuracy.

    Returns
    -------
    AccuracyTable
        Columns in the paper's order, rgb, lbp, cyclic_lbp, cyclic_lbp_5, cyclic_lbp_10, then other
        tables'; rows in the order of the nets.
    """
    shown = [(files, resolve(files.representation).name, accuracy) for files, accuracy in nets]
    columns = list(dict.fromkeys([*REPRESENTATIONS, *(name for _, name, _ in shown)]))
    cells: dict[str, dict[str, float]] = {}
    for files, column, accuracy in shown:
        taken = column in cells.get(files.architecture, ())
        cells.setdefault(files.name if taken else files.architecture, {})[column] = accuracy
    rows: list[tuple[str, dict[str, float]]] = list(cells.items())
    if ensemble is not None:
        columns.append(_TOGETHER)
        rows.append((ensemble[0], {_TOGETHER: ensemble[1]}))
    return AccuracyTable(
        tuple(columns), tuple((name, tuple(map(row.get, columns))) for name, row in rows)
    )
