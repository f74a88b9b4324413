"""``python -m dmft`` is ``delta-nn``."""

import sys

from dmft.cli import main

if __name__ == "__main__":
    sys.exit(main())
