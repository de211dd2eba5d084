"""What docs/testing-handlers.md shows works as it stands there."""

import re
from pathlib import Path

from tests.support.processes import ROOT, run_module

PAGE = (ROOT / "docs" / "testing-handlers.md").read_text()


def test_the_examples_of_the_page_pass(tmp_path: Path) -> None:
    _event, run, api, conftest, delivery = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    handlers, _, tests = run.partition("\n\ndef test_")
    app = tmp_path / "acme"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "handlers.py").write_text(handlers)
    (app / "test_handlers.py").write_text(
        "from acme.handlers import greet\nfrom webhooks.testing import event, is_subscribed, run_handler\n\n"
        f"def test_{tests}\n\n{delivery}"
    )
    (app / "test_api.py").write_text(api)
    (tmp_path / "conftest.py").write_text(conftest)
    done = run_module("deploy.app_tests", "acme", tmp_path, "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout
