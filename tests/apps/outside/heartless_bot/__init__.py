"""An app whose import ends the relay, and no other program, after HEARTLESS_SECONDS."""

import os
import sys
import time

if "relay" in sys.argv:
    time.sleep(float(os.environ["HEARTLESS_SECONDS"]))
    raise SystemExit("this relay has no heart")
