"""`manage.py check_deploy`: what it reads, and what it says of files that it cannot use."""

import io
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.support.deployments import Change, Manifests, both, container, sound, with_grace, with_memory, with_spec
from tests.support.kubernetes import OVERLAYS, needs_kubectl, overlay


def written(tmp_path: Path, manifests: Manifests) -> Path:
    path = tmp_path / "rendered.yaml"
    path.write_text(yaml.safe_dump_all(manifests.values()))
    return path


def checked(*arguments: str | Path) -> str:
    output = io.StringIO()
    call_command("check_deploy", *map(str, arguments), stdout=output)
    return output.getvalue()


def test_the_command_says_that_all_is_well(tmp_path: Path) -> None:
    assert checked(written(tmp_path, sound())) == "6 manifests, no mismatch\n"


def test_the_command_reads_what_comes_in_and_a_list_of_kubectl(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = {"kind": "List", "apiVersion": "v1", "items": list(sound().values())}
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(everything)))
    assert checked("-") == "6 manifests, no mismatch\n"


def test_the_command_puts_files_together(tmp_path: Path) -> None:
    manifests = sound()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(manifests.pop("config")))
    assert checked(written(tmp_path, manifests), config) == "6 manifests, no mismatch\n"


def test_the_command_fails_with_each_mismatch_on_a_line(tmp_path: Path) -> None:
    manifests = sound()
    both(with_grace("worker", 60), with_spec("flower", replicas=2))(manifests)
    output = io.StringIO()
    with pytest.raises(CommandError, match="6 manifests, 2 mismatches"):
        call_command("check_deploy", str(written(tmp_path, manifests)), stdout=output)
    first, second = output.getvalue().splitlines()
    assert first.startswith(f"{tmp_path}/rendered.yaml: Deployment worker: SIGKILL comes 60 s")
    assert second.startswith(f"{tmp_path}/rendered.yaml: Deployment flower: more than one Flower")


def test_a_note_is_said_and_is_no_failure(tmp_path: Path) -> None:
    manifests = sound()
    manifests["scaler"]["kind"] = "ScaledObject"
    note, last = checked(written(tmp_path, manifests)).splitlines()
    assert note.startswith(f"Note: {tmp_path}/rendered.yaml: Deployment worker: no HorizontalPodAutoscaler")
    assert last == "6 manifests, no mismatch"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"kind: [", "is no YAML (line 1)"),
        (b"just words", "holds a document without kind and metadata"),
        (b"kind: Service", "holds a document without kind and metadata"),
        (b"\xff\xfe\xff", "is no text"),
        (b"", "None of 0 manifests runs a program of Hookline"),
        (b"kind: Service\nmetadata: {name: a}", "None of 1 manifests runs a program of Hookline"),
    ],
)
def test_a_file_that_holds_no_manifests_is_said_to(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_bytes(content)
    with pytest.raises(CommandError) as raised:
        checked(path)
    assert sentence in str(raised.value)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"missing\.yaml cannot be read: No such file"):
        checked(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    "change",
    [
        with_spec("receiver", replicas="two"),
        with_spec("worker", template={"spec": {"containers": ["worker"]}}),
        with_memory("limits", "a lot"),
        lambda manifests: manifests["config"]["metadata"].update(
            annotations={"hookline/database-max-connections": "many"}
        ),
        lambda manifests: container(manifests, "worker").update(env=["HOOKLINE_TIME_LIMIT"]),
    ],
)
def test_manifests_that_kubernetes_would_refuse_end_in_a_sentence(change: Change, tmp_path: Path) -> None:
    manifests = sound()
    change(manifests)
    with pytest.raises(CommandError):
        checked(written(tmp_path, manifests))


def test_the_commands_options_stand_for_the_database_and_the_broker(tmp_path: Path) -> None:
    path = written(tmp_path, sound())
    with pytest.raises(CommandError, match=r"1 mismatch$"):
        checked(path, "--max-connections", "50")
    with pytest.raises(CommandError, match=r"1 mismatch$"):
        checked(path, "--consumer-timeout", "90")


# --- What is shipped --------------------------------------------------------------------------------------------------


@needs_kubectl
@pytest.mark.parametrize("name", OVERLAYS)
def test_each_overlay_passes_its_own_check(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(overlay(name))
    assert checked(path).endswith("manifests, no mismatch\n")
