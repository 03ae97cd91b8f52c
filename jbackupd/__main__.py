"""`python -m jbackupd` is the command `jbackupd`."""

from __future__ import annotations

import sys

from jbackupd.cli.main import main

sys.exit(main())
