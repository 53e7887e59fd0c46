"""The command line: `notifier …` or `python -m notifier …`."""

from __future__ import annotations

import sys

from notifier.cli import main

if __name__ == "__main__":
    sys.exit(main())
