"""The image: its Dockerfile wherever we are; and where podman and an image are, every role of it in containers.

`make image-test` runs all of it. Without podman or an image the tests of containers are skipped.
"""

import json
import re
from collections.abc import Iterator

import pytest
import yaml
from django.conf import settings

from tests.image.containers import IMAGE, WHY_NOT, Container, Installation, running_installation
from tests.support.github.server import GitHub, serving
from tests.support.processes import ROOT, free_port, wait_until

DOCKERFILE = ROOT / "deploy" / "image" / "Dockerfile"
NO_EXTRAS = {"requirements-dev.lock", "requirements-assets.lock"}
"""Lock files of what only development and the build need."""
USER = "10001:10001"
ENTRYPOINT = ["tini", "--", "python", "manage.py"]
LARGEST_MB = 300


# --- The Dockerfile ---------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, each with its arguments: comments left out, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(index for index, (name, _) in enumerate(found) if name == "FROM") :]


def only(name: str) -> str:
    (arguments,) = [arguments for found, arguments in final_stage() if found == name]
    return arguments


def test_the_entrypoint_is_exec_form_with_an_init_that_signals_its_child_alone() -> None:
    assert json.loads(only("ENTRYPOINT")) == ENTRYPOINT
    assert isinstance(json.loads(only("CMD")), list)


def test_the_user_is_a_number_which_kubernetes_can_tell_from_root() -> None:
    assert only("USER") == USER


def test_the_base_image_is_an_argument_of_one_release() -> None:
    (base, *_) = [arguments for name, arguments in instructions() if name == "ARG"]
    assert re.fullmatch(r"BASE_IMAGE=python:3\.\d+-slim-[a-z]+", base)
    assert {arguments.split()[0] for name, arguments in instructions() if name == "FROM"} == {"${BASE_IMAGE}"}


def test_nothing_is_installed_in_the_final_stage() -> None:
    assert not [line for name, line in final_stage() if name == "RUN" and re.search(r"\b(apt-get|pip)\b", line)]


def test_packages_are_wheels_whose_hashes_are_in_the_lock_file() -> None:
    (install,) = [line for name, line in instructions() if name == "RUN" and "pip --python" in line]
    assert {"--require-hashes", "--only-binary"} <= set(install.split())


def test_every_extra_can_be_added_and_nothing_is_that_was_not_asked_for() -> None:
    (copied,) = [line for name, line in instructions() if name == "COPY" and line.startswith("requirements")]
    extras = {path.name for path in ROOT.glob("requirements-*.lock")} - NO_EXTRAS
    assert set(copied.split()[:-1]) == {"requirements.lock", *extras}
    assert ("ARG", 'EXTRAS=""') in instructions()
    (install,) = [line for name, line in instructions() if name == "RUN" and "pip --python" in line]
    assert 'for extra in $EXTRAS; do set -- "$@" --requirement "/build/requirements-$extra.lock"; done' in install


def test_every_variable_of_the_image_is_one_that_settings_know() -> None:
    names = set(re.findall(r"(\w+)=", only("ENV")))
    assert "HOOKLINE_ENVIRONMENT" in names
    assert {name for name in names if name.startswith("HOOKLINE_")} <= set(settings.HOOKLINE_VARIABLES)


def test_whatever_is_copied_is_let_into_the_build_and_nothing_else_is() -> None:
    ignored, *let_in = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    copied = [
        arguments.split()[:-1] for name, arguments in instructions() if name == "COPY" and "--from" not in arguments
    ]
    sources = {source for group in copied for source in group}
    assert (ignored, {name[1:] for name in let_in if name.startswith("!")}) == ("*", sources)
    assert all((ROOT / source).exists() for source in sources)


# --- The image, in containers -----------------------------------------------------------------------------------------

in_containers = [
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
    pytest.mark.postgres,
    pytest.mark.rabbitmq,
]
on_each_broker = pytest.mark.parametrize(
    "installation", ["rabbitmq", pytest.param("redis", marks=pytest.mark.redis)], indirect=True, scope="module"
)


@pytest.fixture(scope="module")
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The one for a test that asks for no broker is on RabbitMQ."""
    broker = getattr(request, "param", "rabbitmq")
    with running_installation(tmp_path_factory.mktemp("image"), broker=broker) as installation:
        yield installation


@pytest.fixture
def worker(installation: Installation) -> Iterator[Container]:
    """A worker that consumes, the only one."""
    with installation.running("worker", "--concurrency", "2") as worker:
        wait_until(lambda: " ready." in worker.logs(), what="the worker to consume")
        yield worker


class TestTheImage:
    pytestmark = in_containers

    def test_it_is_small_and_runs_as_nobody_in_exec_form(self, installation: Installation) -> None:
        (image,) = json.loads(installation.podman("image", "inspect", IMAGE))
        assert image["Size"] < LARGEST_MB * 1_000_000
        assert (image["Config"]["User"], image["Config"]["Entrypoint"]) == (USER, ENTRYPOINT)
        labels = {name.rpartition(".")[2] for name in image["Labels"] if name.startswith("org.opencontainers.image.")}
        assert labels == {"title", "description", "licenses", "version", "revision", "created"}

    def test_it_holds_no_compiler_no_installer_no_cache_no_test_and_no_setuid_file(
        self, installation: Installation
    ) -> None:
        names = ["gcc", "g++", "cc", "make", "pip", "pip3", "ld", "git"]
        by_name = " -o ".join(f"-path '*/bin/{name}'" for name in names)
        unwanted = (
            f"{by_name} -o -type f -perm /6000 -o -path '*/site-packages/*/tests' -o -path '*/.cache/*' -o -name .git"
        )
        find = f"find / -xdev \\( {unwanted} -o -path /app/tests -o -path '/var/lib/apt/lists/?*' \\) ! -type l -print"
        assert installation.shell(f"{find}; echo end") == "end\n"

    def test_nothing_of_the_application_is_left_to_compile(self, installation: Installation) -> None:
        sources = int(installation.shell("find /app /opt/hookline/lib -name '*.py' | wc -l"))
        compiled = int(installation.shell("find /app /opt/hookline/lib -name '*.pyc' | wc -l"))
        assert sources == compiled > 1000

    def test_its_python_makes_immortal_what_a_worker_has_loaded(self, installation: Installation) -> None:
        made = installation.shell(
            "python -c 'from workers.processes.immortal import make_immortal; print(make_immortal())'"
        )
        assert int(made) > 0

    @pytest.mark.parametrize("role", ["receiver", "relay", "reconcile", "worker", "flower"])
    def test_every_role_is_a_child_of_pid_1_and_not_root(
        self, installation: Installation, github: GitHub, role: str
    ) -> None:
        settings = {"HOOKLINE_PORT": str(free_port()), "HOOKLINE_FLOWER_PORT": str(free_port()), **github.variables()}
        with installation.running(*command_of(role), **settings) as container:
            wait_until(lambda: len(processes(container)) > 1, what="a child of PID 1")
            first, *others = processes(container)
        assert first == ["1", "0", "hookline", " ".join([*ENTRYPOINT, *command_of(role)])]
        assert others[0][1] == "1"
        assert {user for _, _, user, _ in others} == {"hookline"}

    @on_each_broker
    @pytest.mark.parametrize(
        ("role", "variable"),
        [
            ("receiver", "HOOKLINE_PORT"),
            ("relay", "HOOKLINE_PROBE_PORT"),
            ("reconcile", "HOOKLINE_PROBE_PORT"),
            ("worker", "HOOKLINE_PROBE_PORT"),
            ("flower", "HOOKLINE_FLOWER_PORT"),
        ],
    )
    def test_every_role_passes_its_health_check_of_compose(
        self, installation: Installation, github: GitHub, role: str, variable: str
    ) -> None:
        asked = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"][role]["healthcheck"]["test"]
        port = str(free_port())
        command = [re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", word) for word in asked[1:]]
        with installation.running(*command_of(role), **{variable: port}, **github.variables()) as container:
            wait_until(lambda: container.executes(*command), what=f"{role} to be healthy")

    def test_flower_asks_for_a_password(self, installation: Installation) -> None:
        port = free_port()
        with installation.running("flower", HOOKLINE_FLOWER_PORT=str(port)):
            wait_until(lambda: installation.answers("/healthcheck", port=port), what="Flower to answer")
            assert installation.status("/", port=port) == 401

    def test_a_role_that_is_told_to_stop_before_it_listens_for_it_ends_at_once(
        self, installation: Installation
    ) -> None:
        with installation.running("worker") as worker:
            status, took_seconds = worker.stop(seconds=30)
        # By the signal, or by itself if it was quick; not by the KILL that a PID 1 without a handler waits for.
        assert status in (143, 0)
        assert took_seconds < 20


@on_each_broker
class TestADelivery:
    pytestmark = in_containers

    def test_samples_are_stored_relayed_and_run(self, installation: Installation, worker: Container) -> None:
        assert "202" in installation.manage("send_webhook", "push")
        assert installation.send("work") == 202
        installation.wait_for("succeeded", jobs=1, handler="acme.work")
        assert worker.stop()[0] == 0

    def test_a_stop_lets_the_running_handler_finish(self, installation: Installation, worker: Container) -> None:
        before = installation.count("succeeded", handler="acme.work")
        installation.send("work", seconds=3)
        installation.wait_for("running", jobs=1, handler="acme.work")
        status, took_seconds = worker.stop()
        print(f"worker: {took_seconds:.1f} s from the stop, with a handler of 3 s just begun")
        assert status == 0
        assert installation.count("succeeded", handler="acme.work") == before + 1
        assert installation.rows(
            "SELECT DISTINCT attempt - budget_from_attempt FROM webhooks_job WHERE handler = 'acme.work'"
        ) == [(1,)]

    def test_what_handlers_leave_behind_is_collected(self, installation: Installation, worker: Container) -> None:
        before = installation.count("succeeded", handler="acme.leave_an_orphan")
        for _ in range(3):
            installation.send("orphan")
        installation.wait_for("succeeded", jobs=before + 3, handler="acme.leave_an_orphan")
        wait_until(lambda: len(processes(worker)) == 5, what="tini, Celery, dispatcher, two children, nobody else")
        assert worker.stop()[0] == 0

    @pytest.mark.parametrize(("role", "word"), [("receiver", ""), ("relay", "relay"), ("reconcile", "reconciler")])
    def test_the_others_stop_in_time_too(
        self, installation: Installation, github: GitHub, role: str, word: str
    ) -> None:
        port = free_port()
        with installation.running(*command_of(role), HOOKLINE_PORT=str(port), **github.variables()) as container:
            if role == "receiver":
                wait_until(lambda: installation.answers("/readyz", port=port), what="the receiver to be ready")
            else:
                wait_until(lambda: f"{word} started" in container.logs(), what=f"the {role} to have begun")
            status, took_seconds = container.stop()
        print(f"{role}: {took_seconds:.1f} s from the stop")
        assert status == 0


@pytest.fixture(scope="module")
def github() -> Iterator[GitHub]:
    """A GitHub for those who read its log; its hook has sent nothing."""
    with serving(GitHub()) as running:
        running.hook()
        yield running


def command_of(role: str) -> list[str]:
    """Return what a role is started with in its container."""
    words: list[str] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"][role]["command"]
    return words


def processes(container: Container) -> list[list[str]]:
    return container.processes("pid", "ppid", "user", "args")
