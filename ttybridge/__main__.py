"""`python -m ttybridge` is the command `ttybridge`."""

import sys

from ttybridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
