"""``python -m skinfluence.cli``."""

import sys

from skinfluence.cli import main

if __name__ == "__main__":
    sys.exit(main())
