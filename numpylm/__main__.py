"""``python -m numpylm`` is the ``numpylm`` command."""

import sys

from numpylm.cli import main

if __name__ == "__main__":
    sys.exit(main())
