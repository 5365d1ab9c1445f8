"""``python -m lbpmap.caffe SCRIPT.py ARGS``: run a script that imports `caffe`, as it is."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from lbpmap.caffe.installing import install


def main() -> None:
    """Run the script that the command line names, with this package as `caffe`."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m lbpmap.caffe SCRIPT.py [ARGS]: run a script that imports caffe")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    script = sys.argv[1]
    if not Path(script).is_file():
        print(f"{script}: no such file; give the Python script to run", file=sys.stderr)
        sys.exit(2)
    install()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
