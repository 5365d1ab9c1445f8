"""What nets said of each picture, as a table."""

from __future__ import annotations

import csv
import io

from lbpmap._arrays import Array
from lbpmap.emotion.evaluate import Answers


def as_csv(answers: Answers, probabilities: Array) -> str:
    """Write what was said of each picture as CSV.

    Parameters
    ----------
    answers : Answers
    probabilities : array (N, labels)
        Of its pictures, in the order of its labels.

    Returns
    -------
    str
        Columns path, label (the true one), predicted, and a probability a label.
    """
    text = io.StringIO()
    rows = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    rows.writerow(["path", "label", "predicted", *answers.labels])
    for sample, true, p in zip(answers.samples, answers.truth, probabilities):
        predicted = answers.labels[int(p.argmax())]
        shares = [f"{share:.9g}" for share in p]
        rows.writerow([sample.path, answers.labels[true], predicted, *shares])
    return text.getvalue()
