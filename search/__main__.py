"""`python -m search` is `escsearch`."""

import sys

from .cli import main

sys.exit(main())
