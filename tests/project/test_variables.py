"""Values as people write them, for every variable and its _FILE: understood, or refused without showing them."""

import os
import re
import runpy
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from tests.conftest import DATA_DIRECTORY
from tests.project.test_environment import PRODUCTION
from tests.support.authority import Authority
from tests.support.processes import ROOT, environment_without_settings
from webhooks.subscriptions import checks

GOOD = {
    "ALLOWED_HOSTS": "hooks.example.com, .example.org",
    "BROKER_URL": "amqps://hookline:pass@127.0.0.1:1/vhost",
    "DATABASE_URL": "postgres://hookline:pass@127.0.0.1:1/hookline",
    "DEBUG": "off",
    "FLOWER_AUTH": ".*@example.com",
    "FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler",
    "FLOWER_OAUTH2_KEY": "the id of an app of Flower",
    "FLOWER_OAUTH2_REDIRECT_URI": "https://console.example.com/console/flower/login",
    "FLOWER_OAUTH2_SECRET": "a secret of an app of Flower",
    "FLOWER_URL_PREFIX": "console/flower",
    "GITHUB_API_TOKEN": "github_pat_of_a_test",
    "GITHUB_API_URL": "https://ghes.example.com/api/v3",
    "GITHUB_APP_ID": "Iv23li0a1b2c",
    "GITHUB_APP_PRIVATE_KEY": "-----BEGIN PRIVATE KEY-----\\nMIIBVQ==\\n-----END PRIVATE KEY-----",
    "GITHUB_HOOK_ADDRESSES": "meta, 192.0.2.0/24",
    "GITHUB_HOOKS": "orgs/acme/hooks/123, repos/acme/widgets/hooks/456",
    "GITHUB_WEBHOOK_SECRETS": "a secret of the app,another secret of it",
    "HOOKLINE_APPS": "tests.apps.trial, tests.apps.probed",
    "HOOKLINE_BEHIND_PROXY": "yes",
    "HOOKLINE_BODY_SECONDS": "7.5",
    "HOOKLINE_BROKER_CA_FILE": str(DATA_DIRECTORY / "authority" / "authority.pem"),
    "HOOKLINE_BROKER_TLS_VERIFY": "off",
    "HOOKLINE_CHILD_MAX_JOBS": "17",
    "HOOKLINE_CHILD_MAX_MB": "2_048",
    "HOOKLINE_CHILD_RECYCLE_MB": "170",
    "HOOKLINE_DATABASE_POOLED": "on",
    "HOOKLINE_DATA_DIR": "/nonexistent/hookline",
    "HOOKLINE_DRAIN_SECONDS": "7",
    "HOOKLINE_ENCRYPT_PAYLOADS": "on",
    "HOOKLINE_ENVIRONMENT": "production",
    "HOOKLINE_FLOWER_PORT": "5656",
    "HOOKLINE_GITHUB_WRITES": "record",
    "HOOKLINE_GRACE_SECONDS": "1e2",
    "HOOKLINE_HOST": "127.0.0.2",
    "HOOKLINE_IMMORTAL": "off",
    "HOOKLINE_JOB_EVENTS": "off",
    "HOOKLINE_KEEP_ALIVE_SECONDS": "77",
    "HOOKLINE_DESTINATION_KEYS": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo5ODc2NTQ=",
    "HOOKLINE_ENCRYPTION_KEYS": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU=",
    "HOOKLINE_KEEP_DAYS": "31",
    "HOOKLINE_KEEP_DEAD_DAYS": "91",
    "HOOKLINE_KEEP_PAYLOADS_DAYS": "13",
    "HOOKLINE_LEASE_MARGIN_SECONDS": "17",
    "HOOKLINE_LOG_FORMAT": "text",
    "HOOKLINE_LOG_LEVEL": "ERROR",
    "HOOKLINE_MAX_AGE_HOURS": "7",
    "HOOKLINE_MAX_ATTEMPTS": "7",
    "HOOKLINE_MAX_BODY_MB": "7",
    "HOOKLINE_OIDC_AUTHORIZE_URL": "https://id.example.com/authorize",
    "HOOKLINE_OIDC_CLIENT_ID": "hookline",
    "HOOKLINE_OIDC_CLIENT_SECRET": "a secret of the client",
    "HOOKLINE_OIDC_GROUPS_CLAIM": "teams",
    "HOOKLINE_OIDC_KEYS_URL": "https://id.example.com/keys",
    "HOOKLINE_OIDC_ROLES": "sre=operator, everybody=viewer",
    "HOOKLINE_OIDC_SCOPES": "openid teams",
    "HOOKLINE_OIDC_TOKEN_URL": "https://id.example.com/token",
    "HOOKLINE_OIDC_USER_URL": "https://id.example.com/user",
    "HOOKLINE_OPERATOR_PASSWORD": "a password of the operator",
    "HOOKLINE_OPERATOR_USER": "somebody",
    "HOOKLINE_PAYLOAD_KEYS": "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=",
    "HOOKLINE_PORT": "8080",
    "HOOKLINE_PROBE_PORT": "8181",
    "HOOKLINE_QUEUE_WINDOW": "700",
    "HOOKLINE_RECEIVER_THREADS": "7",
    "HOOKLINE_RECONCILE_SECONDS": "77",
    "HOOKLINE_REDACT": "$.sender.email, $..email",
    "HOOKLINE_RELEASE": "2.0-rc.1",
    "HOOKLINE_ROLE": "all",
    "HOOKLINE_SESSION_HOURS": "7",
    "HOOKLINE_SOURCES": "github",
    "HOOKLINE_STALLED_SECONDS": "70",
    "HOOKLINE_TIME_LIMIT": "70",
    "HOOKLINE_TOKEN": "hookline_a-token-of-a-test",
    "HOOKLINE_TRUSTED_ORIGINS": "https://hooks.example.com:8443, https://*.example.org",
    "HOOKLINE_TRUSTED_PROXIES": "10.0.0.0/8, 2001:db8::7",
    "HOOKLINE_VIEWERS_SEE_PAYLOADS": "on",
    "HOOKLINE_WORKER_CONCURRENCY": "7",
    "HOOKLINE_WORKER_MAX_SECONDS": "7000",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces",
    "OTEL_SDK_DISABLED": "yes",
    "SECRET_KEY": "Zq8#kP2m-vW9x!Lr4t-Yb6n@Hs3d-Gf7j$Qa1c-Ue5w%Ox0z-Ik",
}
"""A value for each variable, no default of any."""
SECRETS = (
    "FLOWER_OAUTH2_SECRET",
    "GITHUB_WEBHOOK_SECRETS",
    "HOOKLINE_OIDC_CLIENT_SECRET",
    "HOOKLINE_OPERATOR_PASSWORD",
    "SECRET_KEY",
)
LISTS = (
    "ALLOWED_HOSTS",
    "HOOKLINE_DESTINATION_KEYS",
    "HOOKLINE_ENCRYPTION_KEYS",
    "GITHUB_HOOKS",
    "GITHUB_HOOK_ADDRESSES",
    "GITHUB_WEBHOOK_SECRETS",
    "HOOKLINE_APPS",
    "HOOKLINE_OIDC_ROLES",
    "HOOKLINE_PAYLOAD_KEYS",
    "HOOKLINE_REDACT",
    "HOOKLINE_SOURCES",
    "HOOKLINE_TRUSTED_ORIGINS",
    "HOOKLINE_TRUSTED_PROXIES",
)
SAME_AS_DEFAULT = {
    *("DEBUG", "HOOKLINE_BEHIND_PROXY", "HOOKLINE_ENVIRONMENT", "HOOKLINE_ROLE", "HOOKLINE_SOURCES", "SECRET_KEY")
}
MAY_BE_EMPTY = (
    *("FLOWER_URL_PREFIX", "HOOKLINE_APPS", "HOOKLINE_OPERATOR_PASSWORD", "HOOKLINE_TRUSTED_ORIGINS"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
)

UNDERSTOOD: dict[str, Callable[[str], str]] = {
    "a line end": lambda value: f"{value}\n",
    "a line end of Windows": lambda value: f"{value}\r\n",
    "blanks around it": lambda value: f" \t{value}\u00a0 ",
    "a byte-order mark": lambda value: f"\ufeff{value}",
    "all of these": lambda value: f"\ufeff {value} \r\n\r\n",
}
QUOTED: dict[str, Callable[[str], str]] = {
    "double quotes": '"{}"'.format,
    "single quotes": "'{}'".format,
    "quotes of a word processor": "\u201c{}\u201d".format,
    "quotes and a line end": '"{}"\n'.format,
}
NUMBERS = {name: value for name, value in GOOD.items() if re.fullmatch(r"[0-9][0-9_e]*(\.[0-9]+)?", value)}
"""Every number, whole or not."""
understood = pytest.mark.parametrize("write", UNDERSTOOD.values(), ids=UNDERSTOOD)
quoted = pytest.mark.parametrize("write", QUOTED.values(), ids=QUOTED)


@pytest.fixture(scope="module", autouse=True)
def authority() -> None:
    """Make the file that HOOKLINE_BROKER_CA_FILE names."""
    Authority(DATA_DIRECTORY / "authority")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no settings but production's."""
    for name in set(os.environ) - set(environment_without_settings(os.environ)):
        monkeypatch.delenv(name)
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, str(value))


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: object) -> dict[str, Any]:
    """Return the settings that a process with these variables has."""
    with monkeypatch.context() as context:
        for name, value in variables.items():
            context.delenv(name.removesuffix("_FILE"), raising=False)
            context.setenv(name, str(value))
        found = runpy.run_path(str(ROOT / "project" / "settings.py"))
    return {name: value for name, value in found.items() if name.isupper()}


def refused(monkeypatch: pytest.MonkeyPatch, **variables: object) -> dict[str, str]:
    """Return what is said of each of these variables, which must not show any value."""
    with pytest.raises(ImproperlyConfigured) as caught:
        loaded(monkeypatch, **variables)
    for value in GOOD.values():
        assert len(value) < 17 or value not in str(caught.value)
    return dict(re.findall(r"(?:^|; )([A-Z0-9_]+): (.+?)(?=; [A-Z0-9_]+: |$)", str(caught.value)))


def each(write: Callable[[str], object], *, without: Collection[str] = ()) -> dict[str, object]:
    return {name: write(value) for name, value in GOOD.items() if name not in without}


def test_there_is_a_value_for_each_variable() -> None:
    assert sorted(GOOD) == settings.HOOKLINE_VARIABLES


def test_the_values_of_this_test_are_not_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    default, found = loaded(monkeypatch), loaded(monkeypatch, **GOOD)
    assert {name for name in GOOD.keys() & found.keys() if found[name] == default[name]} == SAME_AS_DEFAULT


@understood
def test_what_surrounds_a_value_is_left_out(monkeypatch: pytest.MonkeyPatch, write: Callable[[str], str]) -> None:
    assert loaded(monkeypatch, **each(write)) == loaded(monkeypatch, **GOOD)


@understood
def test_what_surrounds_a_value_in_a_file_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: Callable[[str], str]
) -> None:
    for name, value in GOOD.items():
        (tmp_path / name).write_bytes(write(value).encode())
    files = {f"{name}_FILE": f" {tmp_path}/{name}\r\n" for name in GOOD}
    assert loaded(monkeypatch, **files) == loaded(monkeypatch, **GOOD)


@quoted
def test_quotes_that_an_env_file_left_around_a_value_are_taken_off(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str], str]
) -> None:
    found = loaded(monkeypatch, **GOOD | each(write, without=SECRETS))
    assert found == loaded(monkeypatch, **GOOD)


@quoted
def test_a_secret_in_quotes_is_refused_for_it_may_be_meant_so(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str], str]
) -> None:
    said = refused(monkeypatch, **each(write))
    assert said.keys() == set(SECRETS)
    assert all(sentence.startswith("begins and ends with quotes") for sentence in said.values())


@pytest.mark.parametrize("separator", [",", ", ", " ,\t", "\n", "\r\n", ",\n", "\n\n"])
def test_a_list_is_separated_by_commas_or_lines_with_any_blanks(
    monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    expected = loaded(monkeypatch, **GOOD)
    lists = {name: [item.strip() for item in GOOD[name].split(",")] for name in LISTS}
    assert loaded(monkeypatch, **GOOD | {name: separator.join(own) for name, own in lists.items()}) == expected
    ended = {name: separator.join([*own, ""]) for name, own in lists.items()}
    assert loaded(monkeypatch, **GOOD | ended) == expected
    quoted = {name: separator.join(f'"{item}"' for item in own) for name, own in lists.items() if name not in SECRETS}
    assert loaded(monkeypatch, **GOOD | quoted) == expected


def test_one_secret_in_quotes_among_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(monkeypatch, GITHUB_WEBHOOK_SECRETS="an-unquoted-one-of-them,'a-quoted-one-of-them'")
    assert said["GITHUB_WEBHOOK_SECRETS"].startswith("a secret begins and ends with quotes")


def test_what_is_one_value_may_not_be_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    of_lines = {*LISTS, "GITHUB_APP_PRIVATE_KEY"}
    said = refused(monkeypatch, **each(lambda value: f"{value}\n{value}", without=tuple(of_lines)))
    assert said == dict.fromkeys(GOOD.keys() - of_lines, "must be a single line.")


@pytest.mark.parametrize("empty", ["", " ", "\r\n", "\ufeff", '""'])
def test_an_empty_value_is_refused_where_it_means_nothing(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    without = SECRETS if empty == '""' else ()
    said = refused(monkeypatch, **GOOD | each(lambda _: empty, without=without))
    assert said.keys() == GOOD.keys() - set(MAY_BE_EMPTY) - set(without)
    assert set(said.values()) == {"is empty; give a value, or leave the variable out."}
    assert loaded(monkeypatch, HOOKLINE_APPS="", HOOKLINE_OPERATOR_PASSWORD="")["HOOKLINE_APPS"] == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        ("a value of sixteen or more".encode("utf-16"), "is UTF-16"),
        ("a value of sixteen or more".encode("utf-16-be"), "holds control characters"),
        (b"a value of sixteen\0", "holds control characters"),
        (b"a value of \x1b[sixteen", "holds control characters"),
        (b"a value of \xff sixteen", "is no text in UTF-8"),
        ("a value of six\u200bteen or more".encode(), "holds an invisible character (U+200B)"),
        (b"x" * 1_100_000, "is larger than 1 MiB"),
    ],
)
def test_a_file_that_holds_no_plain_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, sentence: str
) -> None:
    (tmp_path / "value").write_bytes(content)
    said = refused(monkeypatch, **{f"{name}_FILE": tmp_path / "value" for name in GOOD})
    assert said.keys() == {f"{name}_FILE" for name in GOOD}
    assert {one.startswith(f"its file {sentence}") for one in said.values()} == {True}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(os.fsdecode(b"sixteen or more \xff\xfe"), "is no text in UTF-8."), ("sixteen or\x1b more", "holds control")],
)
def test_bytes_that_are_no_text_are_refused(monkeypatch: pytest.MonkeyPatch, value: str, sentence: str) -> None:
    said = refused(monkeypatch, **each(lambda _: value))
    assert said.keys() == GOOD.keys()
    assert {one.startswith(sentence) for one in said.values()} == {True}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/", "cannot be read (Is a directory)."),
        ("/nonexistent", "cannot be read (No such file or directory)."),
        ("", "is empty; give the path of a file, or leave the variable out."),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, path: str, sentence: str) -> None:
    assert refused(monkeypatch, **{f"{name}_FILE": path for name in GOOD}) == {
        f"{name}_FILE": sentence for name in GOOD
    }


def test_a_value_that_is_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {f"{name}_FILE": tmp_path for name in GOOD}
    assert refused(monkeypatch, **files | GOOD) == {
        name: f"is given twice, directly and by {name}_FILE; leave one of them out." for name in GOOD
    }


@pytest.mark.parametrize(
    "value",
    ["60s", "1 min", "1,000", "ten", "0x10", "nan", "inf", "-inf", "-1", "1e300", "1e999", "9" * 400, "9" * 5000],
)
def test_what_is_no_number_or_beyond_its_bounds_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    said = refused(monkeypatch, **dict.fromkeys(NUMBERS, value))
    assert said.keys() == NUMBERS.keys()
    assert all(bounds_in(sentence) for sentence in said.values())


@pytest.mark.parametrize("value", ["1e3", "8000.5", "8000 # the port"])
def test_what_is_no_whole_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refused(monkeypatch, HOOKLINE_QUEUE_WINDOW=value).keys() == {"HOOKLINE_QUEUE_WINDOW"}


def test_the_bounds_of_a_number_are_the_ones_that_are_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(monkeypatch, **dict.fromkeys(NUMBERS, "none"))
    lowest, highest = ({name: bounds_in(said[name])[place] for name in NUMBERS} for place in (0, 1))
    loaded(monkeypatch, **lowest)
    loaded(monkeypatch, **highest)
    assert refused(monkeypatch, **{name: float(low) - 1 for name, low in lowest.items()}).keys() == NUMBERS.keys()
    assert refused(monkeypatch, **{name: int(high) + 1 for name, high in highest.items()}).keys() == NUMBERS.keys()
    assert highest["HOOKLINE_TIME_LIMIT"] == str(checks.LONGEST_SECONDS)
    assert highest["HOOKLINE_MAX_ATTEMPTS"] == str(checks.MOST_ATTEMPTS)


def bounds_in(sentence: str) -> tuple[str, str]:
    found = re.match(r"must be a (?:whole )?number from (\S+) to (\S+); give one of these, or leave", sentence)
    assert found is not None
    return found[1], found[2]


@pytest.mark.parametrize(
    ("value", "means"),
    [("yes", True), ("On", True), ("TRUE", True), ("1", True), ("no", False), ("Off", False), ("FALSE", False)],
)
def test_a_truth_is_written_in_many_ways(monkeypatch: pytest.MonkeyPatch, value: str, means: bool) -> None:
    assert loaded(monkeypatch, HOOKLINE_BEHIND_PROXY=value)["HOOKLINE_BEHIND_PROXY"] is means


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("HOOKS.example.com", "hooks.example.com"),
        ("hooks.example.com.", "hooks.example.com"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("192.0.2.7", "192.0.2.7"),
        ("*", "*"),
        (".example.com", ".example.com"),
    ],
)
def test_an_allowed_host_is_taken_as_django_compares_it(
    monkeypatch: pytest.MonkeyPatch, written: str, means: str
) -> None:
    assert loaded(monkeypatch, ALLOWED_HOSTS=f"a.example, {written}")["ALLOWED_HOSTS"] == ["a.example", means]


@pytest.mark.parametrize(
    "value",
    ["https://a.example", "a.example:8000", "a.example/", "a.example b.example", "*.a.example", '"a.example', ","],
)
def test_an_allowed_host_that_could_never_match_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refused(monkeypatch, ALLOWED_HOSTS=value).keys() == {"ALLOWED_HOSTS"}


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("https://Hooks.example.com/", "https://hooks.example.com"),
        ("https://hooks.example.com:443", "https://hooks.example.com"),
        ("http://hooks.example.com:8080", "http://hooks.example.com:8080"),
        ("https://*.example.com:8443", "https://*.example.com:8443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_an_origin_is_taken_as_browsers_send_it(monkeypatch: pytest.MonkeyPatch, written: str, means: str) -> None:
    assert loaded(monkeypatch, HOOKLINE_TRUSTED_ORIGINS=written)["CSRF_TRUSTED_ORIGINS"] == [means]


@pytest.mark.parametrize(
    "value",
    [
        *("hooks.example.com", "https://", "https://*", "ftp://a.example", "https://a.example/admin", "//a.example"),
        *("https://a.example:0", "https://a.example:99999", "https://user@a.example", "https://a.*.example"),
    ],
)
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refused(monkeypatch, HOOKLINE_TRUSTED_ORIGINS=value).keys() == {"HOOKLINE_TRUSTED_ORIGINS"}


@pytest.mark.parametrize("written", ["flower", "/flower", "/flower/", "'flower/'"])
def test_slashes_around_flower_s_prefix_mean_nothing(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    assert loaded(monkeypatch, FLOWER_URL_PREFIX=written)["HOOKLINE_FLOWER_PREFIX"] == "flower"


@pytest.mark.parametrize("value", ["https://a.example/flower", "a b", "a?b", "../a", "a//b"])
def test_what_is_no_prefix_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refused(monkeypatch, FLOWER_URL_PREFIX=value).keys() == {"FLOWER_URL_PREFIX"}


@pytest.mark.parametrize(
    "value", ["ana@example.com", "ana@example.com|bob@example.org", ".*@example.com", "ana.b+c@sub.example.com"]
)
def test_whom_flower_lets_in_are_addresses_or_a_domain(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert loaded(monkeypatch, FLOWER_AUTH=value)["HOOKLINE_FLOWER_OAUTH"]["auth"] == value


@pytest.mark.parametrize(
    "value",
    [".*", "*", ".*@.*", ".*@*", "ana@.*", ".*@a.example|bob@b.example", "ana", "ana@", "@a.example", "a@b@c", "|"],
)
def test_a_pattern_that_would_let_in_anybody_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refused(monkeypatch, FLOWER_AUTH=value).keys() == {"FLOWER_AUTH"}


@pytest.mark.parametrize(
    "value", ["console.example.com/login", "https://console.example.com", "ftp://a.example/login", "https://a b/login"]
)
def test_what_is_no_page_for_signing_in_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refused(monkeypatch, FLOWER_OAUTH2_REDIRECT_URI=value).keys() == {"FLOWER_OAUTH2_REDIRECT_URI"}


def test_a_provider_that_flower_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, FLOWER_AUTH_PROVIDER="os.system").keys() == {"FLOWER_AUTH_PROVIDER"}


def test_an_operator_whose_name_would_cut_the_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, HOOKLINE_OPERATOR_USER="some:body").keys() == {"HOOKLINE_OPERATOR_USER"}


def test_a_home_directory_may_be_written_as_a_shell_would_read_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loaded(monkeypatch, HOOKLINE_DATA_DIR="~/hookline")["HOOKLINE_DATA_DIR"] == tmp_path / "hookline"


def test_a_child_may_be_replaced_for_any_growth_and_its_two_limits_are_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One counts what the child has come to hold, the other all of its data. A worker says at its start if they clash.
    settings = loaded(monkeypatch, HOOKLINE_CHILD_RECYCLE_MB=20, HOOKLINE_CHILD_MAX_MB=500)
    assert (settings["HOOKLINE_CHILD_RECYCLE_MB"], settings["HOOKLINE_CHILD_MAX_MB"]) == (20, 500)
    assert loaded(monkeypatch, HOOKLINE_CHILD_RECYCLE_MB=500, HOOKLINE_CHILD_MAX_MB=500)["HOOKLINE_CHILD_MAX_MB"] == 500


@pytest.mark.parametrize(
    ("variables", "is_wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_traces_are_wanted_where_they_have_an_address_and_are_not_turned_off(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_wanted: bool
) -> None:
    assert loaded(monkeypatch, **variables)["HOOKLINE_TRACES"] is is_wanted
