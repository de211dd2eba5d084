"""Comments, docstrings and pages name files, modules and make's targets that are there."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TOPS = [top for top in ROOT.iterdir() if not top.name.startswith(".") or top.name in (".ci", ".github")]
FILES = [file for top in _TOPS for file in (top, *top.rglob("*")) if file.is_file() and file.suffix != ".pyc"]
PATHS = [f"/{file.relative_to(ROOT)}" for file in FILES]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

FILE_NAME = re.compile(r"(?<![\w/.*-])((?:[\w.-]+/)*[\w-]+\.(?:py|md|sh|yaml|toml|conf|html))\b")
MODULE = re.compile(r"(?<![\w/.@-])((?:webhooks|workers|project|deploy|tests)(?:\.[a-z_]+)+)")
TARGET = re.compile(r"`make ([a-z-]+)")
ELSEWHERE = {"ruamel.yaml"}
"""Names of this form that are no file of ours."""


def prose(file: Path) -> Iterator[str]:
    """Yield the file's comments and docstrings; of a page, all of it."""
    if file.suffix == ".png":
        return
    text = file.read_text()
    if file.suffix == ".md":
        yield text
    elif file.suffix == ".py":
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        yield from (token.string for token in tokens if token.type == tokenize.COMMENT)
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield node.value.value
    elif file.suffix in (".sh", ".yaml", ".toml", ".conf", ".service") or file.name in ("Makefile", "run"):
        yield from (line for line in text.splitlines() if line.lstrip().startswith(("#", ";")))


def is_module(name: str) -> bool:
    """Tell whether a dotted name is a module, or something that a module holds."""
    for end in range(len(parts := name.split(".")), 0, -1):
        module = ROOT.joinpath(*parts[:end])
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            if file.exists():
                return end == len(parts) or bool(re.search(rf"\b{parts[end]}\b", file.read_text()))
        if module.is_dir():
            return end == len(parts)
    return False


def missing(text: str) -> Iterator[str]:
    for name in set(FILE_NAME.findall(text)) - ELSEWHERE:
        if not any(path.endswith(f"/{name.rpartition('../')[2]}") for path in PATHS):
            yield name
    yield from (name for name in MODULE.findall(text) if not is_module(name))
    yield from (f"make {name}" for name in TARGET.findall(text) if name not in TARGETS)


def test_what_comments_and_pages_name_is_there() -> None:
    found = {(str(file.relative_to(ROOT)), name) for file in FILES for text in prose(file) for name in missing(text)}
    assert not found


def test_what_is_not_there_is_found() -> None:
    text = (
        "`webhooks/nobody.py` and tests.nobody.knows; `make nothing`, but README.md, `webhooks.models.Job`, `make run`"
    )
    assert set(missing(text)) == {"webhooks/nobody.py", "tests.nobody.knows", "make nothing"}
