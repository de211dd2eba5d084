"""Waits until its input ends, then prints as JSON the secrets of the data directory that the argument names."""

import json
import sys
from pathlib import Path

from project.embedded import generated_secrets, open_data_directory

sys.stdin.read()
print(json.dumps(generated_secrets(open_data_directory(Path(sys.argv[1])))))
