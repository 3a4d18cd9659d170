"""`python -m currant` is the command `currant`."""

import sys

from currant.cli import main

if __name__ == "__main__":
    sys.exit(main())
