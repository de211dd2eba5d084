"""Bodies of deliveries: what GitHub sends, and what it never would. Each is signed as it is, whatever it says."""

import json
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import quote_plus

from tests.fuzz.paths import read_paths
from webhooks.github.payload import FORM, JSON
from webhooks.github.samples import DIRECTORY

Tree = dict[str, "Tree | str"]
"""Members of an object, and where no object stands, JSON."""
SAMPLES = {file.stem: file.read_bytes() for file in sorted(DIRECTORY.glob("*.json"))}
EVENTS = (*SAMPLES, "of_tomorrow", "check_run", "workflow_job", "star")

NUMBERS = (
    *("0", "-0", "1", "-1", "1.0", "0.1", "1E+2", "1e400", "-1e400", "1e-400", "00", "01", "0x10"),
    *("NaN", "Infinity", "-Infinity"),
    *(str(sign * 2**power - less) for sign in (1, -1) for power in (31, 63, 64) for less in (0, 1)),
)
TEXTS = (
    '""',
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\udfff\\ud800"',
    '"\\ud83d\\ude00"',
    '"\\uFFFE\\uFFFF"',
    '"\\x41"',
    '"\\"',
    '"\t"',
    '"é\u202e\u200b"',
    f'"{"a" * 100}"',
    f'"{"a" * 101}"',
    f'"{"é" * 255}"',
    f'"{"a" * 70_000}"',
    '"%s%n{0}"',
    '"\'; DROP TABLE webhooks_delivery; --"',
)
DEPTHS = (1, 10, 126, 500, 1022, 1023, 1024, 1025, 5_000, 100_000)
GARBAGE = (
    b"",
    b" ",
    b"null",
    b"true",
    b"[]",
    b"[{}]",
    b'"{}"',
    b"{}{}",
    b"{}\0",
    b"\0{}",
    b"\xef\xbb\xbf{}",
    b"{'a': 1}",
    b"{/**/}",
    b'{"a":1,}',
    b'{"action":"\xff\xfe"}',
    b'{"action":"\xed\xa0\x80"}',
    b'{"action":"\xc0\x80"}',
    b'{"action":"\xf4\x90\x80\x80"}',
    "{}".encode("utf-16"),
    "{}".encode("utf-32-be"),
)
FORM_TEXTS = (
    b"payload",
    b"payload=",
    b"payload=%",
    b"payload=%7",
    b"payload=%zz",
    b"payload=%7B%7D&payload=%7B%7D",
    b"payload=%7B%7D&",
    b"&&&",
    b"=",
    b"Payload=%7B%7D",
    b"payload[]=%7B%7D",
    b"a=1;payload=%7B%7D",
    b"a=1&payload=%7B%7D&b=2",
    b"&".join(b"a%d=1" % number for number in range(20)) + b"&payload=%7B%7D",
    b"payload=%ff",
    b"payload=%7B%22action%22%3A%22%ed%a0%80%22%7D",
    b"payload=%00%7B%7D",
    b"payload={}",
    b'payload={"action":"\xc3\xa9"}',
    b"payload=%257B%257D",
    b"payload=+%7B+%7D+",
)


def body_of(random: Random) -> tuple[bytes, str, str]:
    """Return a body, its content type and what kind of body it is."""
    make = random.choices(_MAKERS, _WEIGHTS)[0]
    text = make(random)
    content_type = FORM if make in _FORMS else JSON
    if random.random() < 0.02:
        content_type = JSON if content_type == FORM else FORM
    return text, content_type, make.__name__.strip("_")


def _plain(random: Random) -> bytes:
    payload: dict[str, Any] = {
        "zen": f"Number {random.getrandbits(40)}",
        "action": random.choice(["opened", "created"]),
    }
    payload["repository"] = {"full_name": f"acme/widgets-{random.randrange(50)}", "private": False}
    payload["installation"] = {"id": random.randrange(2**31)}
    payload["sender"] = {"login": "octocat", "id": 1, "name": "Zoë"}
    return json.dumps(payload, ensure_ascii=random.random() < 0.5).encode()


def _sample(random: Random) -> bytes:
    return random.choice(list(SAMPLES.values()))


def odd_members(random: Random) -> bytes:
    """Put what GitHub never would where somebody looks: at some of the paths, and on the way to them."""
    tree: Tree = {}
    for path in random.sample(read_paths(), random.randint(1, 5)):
        node = tree
        for key in path[: random.choice([len(path), len(path), len(path), 1]) - 1]:
            inner = node.setdefault(key, {})
            node = inner if isinstance(inner, dict) else node
        node[path[-1]] = _odd_value(random)
    return _written(random, tree).encode(errors="surrogatepass")


def _written(random: Random, node: Tree | str) -> str:
    """Return a tree of odd values as JSON; here and there its members are nested, repeated or among others."""
    if isinstance(node, str):
        return node
    members = [f'"{key}":{_wrapped(random, _written(random, one))}' for key, one in node.items()]
    random.shuffle(members)
    return "{" + ",".join(members) + "}"


def _wrapped(random: Random, text: str) -> str:
    way = random.random()
    if way < 0.1:
        depth = random.choice(DEPTHS[:6])
        return "[" * depth + text + "]" * depth
    if way < 0.2 and len(text) < 1_000:
        return "[" + ",".join([text] * random.choice([2, 30, 1_000])) + "]"
    if way < 0.3 and len(text) < 1_000:
        return f'[null,1,"",[],{{}},[{text}],[[{text}],{text}]]'
    return text


def _odd_value(random: Random) -> str:
    nested = random.choice(["[", '{"a":', '[{"a":', "[[],"])
    ends = {"[": "]", "{": "}", ",": ""}
    depth = random.choice(DEPTHS[:8])
    return random.choice(
        [
            random.choice(NUMBERS),
            random.choice(TEXTS),
            random.choice(["null", "true", "false", "[]", "{}", '["a","b"]', '"\ud83d"', '"cut off \\ud83d"']),
            random.choice(["9" * 30, "-" + "9" * 400, "9" * 5_000, "1e999"]),
            nested * depth + "1" + "".join(ends.get(one, "") for one in reversed(nested)) * depth,
            "["
            + ",".join([random.choice(["[]", "{}", "0", '""', "null"])] * random.choice([10, 10, 100, 10_000]))
            + "]",
        ]
    )


def _numbers(random: Random) -> bytes:
    number = random.choice([*NUMBERS, "9" * 5000, "0." + "3" * 5000, "1" + "0" * 400 + ".5", "-" + "8" * 100])
    return f'{{"installation":{{"id":{number}}},"number":{number}}}'.encode()


def _deep(random: Random) -> bytes:
    depth = random.choices(DEPTHS, [9, 9, 9, 9, 9, 9, 9, 9, 5, 1])[0]
    start, end = random.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
    closes = random.random() < 0.8
    return b'{"a":' + start * depth + b"1" + end * (depth if closes else 0) + b"}"


def _garbage(random: Random) -> bytes:
    return random.choice(GARBAGE) if random.random() < 0.6 else random.randbytes(random.randrange(200))


def _broken(random: Random) -> bytes:
    text = bytearray(_plain(random))
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(text))
        if random.random() < 0.3:
            del text[place : place + random.randint(1, 20)]
        else:
            text[place] = random.randrange(256)
    return bytes(text)


def _repeated_keys(random: Random) -> bytes:
    return b"{" + b",".join(b'"action":%d' % number for number in range(random.randint(2, 2000))) + b"}"


def _large(random: Random) -> bytes:
    size = random.choice([60_000, 130_000, 1_050_000, 1_300_000])
    return b'{"text":"' + b"a" * size + b'"}'


def _form(random: Random) -> bytes:
    return b"payload=" + quote_plus(_plain(random)).encode()


def _odd_form(random: Random) -> bytes:
    odd = random.random()
    if odd < 0.5:
        return random.choice(FORM_TEXTS)
    inner = random.choice([odd_members, _numbers, _garbage, _broken, _deep])(random)[:20_000]
    return b"payload=" + (inner if odd < 0.6 else quote_plus(inner).encode())


_FORMS = (_form, _odd_form)
_SHARES: dict[Callable[[Random], bytes], int] = {
    _plain: 300,
    _sample: 40,
    odd_members: 150,
    _numbers: 60,
    _deep: 60,
    _garbage: 80,
    _broken: 80,
    _repeated_keys: 20,
    _large: 2,
    _form: 100,
    _odd_form: 100,
}
_MAKERS, _WEIGHTS = list(_SHARES), list(_SHARES.values())
