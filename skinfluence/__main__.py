"""``python -m skinfluence``, the command line where no script was installed for it."""

import sys

from skinfluence.cli import main

if __name__ == "__main__":
    sys.exit(main())
