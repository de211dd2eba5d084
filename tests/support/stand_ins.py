"""Programs that stand in for buildah, debootstrap and apt on a script's PATH, where the real ones take minutes.

The buildah here keeps images, by name, in a file. It does what buildah 1.28 does where scripts depend on it: the same
content is the same image, a name goes over to the image that was built last, and `rmi` takes an image with its name.
"""

import json
import os
import sys
from pathlib import Path

BUILDAH = f"#!{sys.executable}\nfrom tests.support.stand_ins import buildah\n\nbuildah()\n"
# Some of the system that debootstrap makes, of which scripts change and remove files.
DEBOOTSTRAP = '#!/bin/sh\nfor root; do case $root in /*/root) mkdir -p "$root/etc/apt" "$root/var/cache";; esac; done\n'
NOTHING = "#!/bin/sh\n"


def put(directory: Path, **programs: str) -> None:
    """Write these programs, by name, into a directory for the PATH."""
    directory.mkdir(exist_ok=True)
    for name, text in programs.items():
        program = directory / name.replace("_", "-")
        program.write_text(text)
        program.chmod(0o755)


def images(file: Path) -> dict[str, str]:
    """Return what the stand-in holds: images, by name or by `<none>` and a number."""
    found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    return found


def buildah() -> None:
    """Be buildah: STAND_IN_IMAGES names the file, STAND_IN_CONTENT is what a build makes, or nothing."""
    file, (command, *words) = Path(os.environ["STAND_IN_IMAGES"]), sys.argv[1:]
    held, last = images(file), words[-1] if words else ""
    if command in ("bud", "commit"):
        _name(held, words[words.index("--tag") + 1] if command == "bud" else last)
    elif command == "from":
        print("working-container")
    elif command == "rmi":
        for name in [name for name, image in held.items() if last in (name, image)]:
            del held[name]
    elif command == "images":
        print("232 MB" if last in held else "")
    elif command == "inspect" and last in held:
        print(held[last])
    elif command in ("pull", "inspect"):
        sys.exit(f"{last}: image not known")
    file.write_text(json.dumps(held))


def _name(held: dict[str, str], name: str) -> None:
    content = os.environ["STAND_IN_CONTENT"]
    if not content:
        return
    if name in held and held[name] != content:
        held[f"<none>-{held[name]}"] = held[name]
    held[name] = content
