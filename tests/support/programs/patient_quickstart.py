"""Runs the quickstart with the configuration of its supervisor that the argument names."""

import sys
from pathlib import Path

from deploy import quickstart, supervision

supervision.CONFIGURATION = Path(sys.argv[1])
sys.exit(quickstart.main())
