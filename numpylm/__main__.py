"""``python -m numpylm`` is the ``numpylm`` command."""

import sys

from numpylm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
