"""How fast the transform is here: beside a copy of the same bytes, and beside other libraries.

`cases` says what is timed, `peers` what it is timed against, `timing` how; `results` names the
machine and keeps the rows, `tables` and `plot` show them. ``lbpmap bench`` and the suites in
``benchmarks/`` both stand on it.
"""
