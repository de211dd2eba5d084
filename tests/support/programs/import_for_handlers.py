"""Imports all that handlers need, and prints which of the packages in its arguments came along."""

import sys

from webhooks import *  # noqa: F403

print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:])))
