"""A plugin of pytest: names the files of which a run skips anything, a line each time.

LBPMAP_SKIPPED is the file to write to. `.ci/run` has them tested once more, with every extra.
"""

import os


def _note(report):
    if report.skipped:
        with open(os.environ["LBPMAP_SKIPPED"], "a", encoding="utf-8") as names:
            print(report.nodeid.split("::")[0], file=names)


pytest_runtest_logreport = pytest_collectreport = _note
