"""`python -m zoo` is the command line."""

import sys

from zoo.cli.main import main

sys.exit(main())
