"""`python -m texsynth` is the command `texsynth`."""

import sys

from texsynth.cli import main

sys.exit(main())
