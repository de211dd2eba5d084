"""Waits until its input ends, then prints the secrets of a data directory as JSON.

python -m tests.support.programs.print_secrets DIRECTORY
"""

import json
import sys
from pathlib import Path

from project.embedded import generated_secrets, open_data_directory

sys.stdin.read()
print(json.dumps(generated_secrets(open_data_directory(Path(sys.argv[1])))))
