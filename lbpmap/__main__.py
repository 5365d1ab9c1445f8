"""``python -m lbpmap`` is the command ``lbpmap``."""

import sys

from lbpmap.cli import main

if __name__ == "__main__":
    sys.exit(main())
