"""`python -m invdiff`: the command line."""

import sys

from invdiff.cli import main

sys.exit(main())
