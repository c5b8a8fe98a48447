"""`python -m tightfit_export`."""

import sys

from tightfit_export.cli import main

sys.exit(main())
