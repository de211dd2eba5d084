"""Inputs for the receiver: signed deliveries, most of them changed somewhere, as bytes; each by a seed and a number."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.fuzz import odd
from tests.fuzz.bodies import EVENTS, body_of
from tests.support.deliveries import PATH, headers_for
from tests.support.receiver_process import SECRET
from webhooks.github.signature import sign


@dataclass(frozen=True)
class Input:
    """What is sent, and the names of what was done to it."""

    number: int
    kinds: tuple[str, ...]
    data: bytes


@dataclass
class Draft:
    """A request that is not yet bytes."""

    body: bytes
    headers: list[tuple[bytes, bytes]]
    method: bytes = b"POST"
    target: bytes = PATH.encode()
    version: bytes = b"HTTP/1.1"
    kinds: list[str] = field(default_factory=list)

    def data(self) -> bytes:
        head = b"".join(b"%b: %b\r\n" % header for header in self.headers)
        return b"%b %b %b\r\n%b\r\n%b" % (self.method, self.target, self.version, head, self.body)

    def put(self, name: str, value: str | bytes) -> None:
        """Give a header another value, where it stands."""
        told = value if isinstance(value, bytes) else value.encode()
        self.headers = [(own, told if own == name.encode() else old) for own, old in self.headers]

    def add(self, random: Random, name: str | bytes, value: str | bytes) -> None:
        header = tuple(part if isinstance(part, bytes) else part.encode() for part in (name, value))
        self.headers.insert(random.randint(0, len(self.headers)), (header[0], header[1]))


def input_of(seed: int, number: int) -> Input:
    """Return the input of this number. Each is drawn by itself, so that one can be repeated without the others."""
    random = Random(f"{seed}/{number}")
    if random.random() < 0.01:
        bare = random.choice(odd.BARE) if random.random() < 0.7 else random.randbytes(random.randrange(1, 500))
        return Input(number, ("bare",), bare)
    draft = _signed(random, seed)
    for _ in range(random.choices([0, 1, 2, 4], [45, 35, 15, 5])[0]):
        change = random.choices(_CHANGES, _WEIGHTS)[0]
        change(random, draft)
        draft.kinds.append(change.__name__.strip("_"))
    data = draft.data()
    if random.random() < 0.12:
        damage = random.choice(_DAMAGES)
        data = damage(random, data)
        draft.kinds.append(damage.__name__.strip("_"))
    return Input(number, tuple(draft.kinds), data)


def _signed(random: Random, seed: int) -> Draft:
    body, content_type, kind = body_of(random)
    again = random.random() < 0.05
    guid = uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{random.randrange(50)}") if again else _guid(random)
    headers = headers_for(
        body, secret=SECRET, event=random.choice(EVENTS), guid=str(guid), hook_id=random.choice([0, 7, 2**63 - 1])
    )
    fields = {"Host": "localhost", "Content-Length": str(len(body)), **headers, "Content-Type": content_type}
    return Draft(body, [(name.encode(), value.encode()) for name, value in fields.items()], kinds=[kind])


def _guid(random: Random) -> uuid.UUID:
    return uuid.UUID(int=random.getrandbits(128), version=4)


# --- Changes of a request ---------------------------------------------------------------------------------------------


def _header_left_out(random: Random, draft: Draft) -> None:
    name = random.choice(odd.HEADERS).encode()
    draft.headers = [header for header in draft.headers if header[0] != name]


def _header_twice(random: Random, draft: Draft) -> None:
    name, value = random.choice(draft.headers or [(b"a", b"b")])
    other = random.choice([value, value, b"", value[:-1], value + b"0", random.randbytes(5).hex().encode()])
    draft.add(random, random.choice([name, name.lower(), name.upper()]), other)


def _odd_value(random: Random, draft: Draft) -> None:
    draft.put(random.choice(odd.HEADERS), random.choice(odd.VALUES))


def _odd_extra(random: Random, draft: Draft) -> None:
    draft.add(random, random.choice(odd.NAMES), random.choice([b"1", b"", b"push", *odd.VALUES]))


def _extra(random: Random, draft: Draft) -> None:
    draft.add(random, *random.choice(odd.EXTRAS))


def _many_headers(random: Random, draft: Draft) -> None:
    for number in range(random.choice([20, 80, 99, 200])):
        draft.add(random, f"X-{number}", "a")


def _spaced_header(random: Random, draft: Draft) -> None:
    name = random.choice(odd.HEADERS)
    changed = random.choice([f" {name}", f"{name} ", f"{name}\t", name.replace("-", "_"), name.lower(), name.upper()])
    draft.headers = [(changed.encode() if own == name.encode() else own, value) for own, value in draft.headers]


def _length(random: Random, draft: Draft) -> None:
    near = len(draft.body) + random.choice([-10, -1, 1, 10, 5000])
    draft.put("Content-Length", random.choice([str(near), str(near), str(25 * 1024 * 1024 + 1), *odd.LENGTHS]))


def _chunked(random: Random, draft: Draft) -> None:
    size = random.choice([b"%x", b"%X", b"%x;a=b", b"0x%x", b"-%x", b"%x ", b"00000000000000000%x", b"f%x"])
    end = random.choice([b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX-Hub-Signature-256: a\r\n\r\n", b"", b"0\r\n", b"0\n\n"])
    draft.body = (size % len(draft.body)) + b"\r\n" + draft.body + random.choice([b"\r\n", b"\r\n", b""]) + end
    draft.add(
        random,
        "Transfer-Encoding",
        random.choice(["chunked", "chunked", "Chunked", "gzip, chunked", "identity", "x", " "]),
    )
    if random.random() < 0.7:
        draft.headers = [header for header in draft.headers if header[0] != b"Content-Length"]


def _method(random: Random, draft: Draft) -> None:
    draft.method = random.choice([*odd.METHODS, "", "P\0ST", "a" * 5000]).encode()


def _target(random: Random, draft: Draft) -> None:
    draft.target = random.choice(odd.TARGETS).encode()


def _version(random: Random, draft: Draft) -> None:
    draft.version = random.choice(odd.VERSIONS).encode()


def _content_type(random: Random, draft: Draft) -> None:
    draft.put("Content-Type", random.choice(odd.CONTENT_TYPES))


def _event(random: Random, draft: Draft) -> None:
    draft.put("X-GitHub-Event", random.choice(odd.EVENTS))


def _guid_changed(random: Random, draft: Draft) -> None:
    guid = str(_guid(random))
    draft.put(
        "X-GitHub-Delivery", random.choice([*odd.GUIDS, guid.upper(), guid[:-1], guid + "0", guid.replace("-", "")])
    )


def _hook_id(random: Random, draft: Draft) -> None:
    draft.put("X-GitHub-Hook-ID", random.choice(odd.HOOK_IDS))


def _signature(random: Random, draft: Draft) -> None:
    good = sign(draft.body, SECRET)
    draft.put(
        "X-Hub-Signature-256",
        random.choice(
            [
                sign(draft.body, "another secret of this hook"),
                sign(draft.body + b" ", SECRET),
                sign(b"", SECRET),
                sign(draft.body, ""),
                good.upper(),
                good.removeprefix("sha256="),
                good.replace("sha256", "sha1"),
                good.replace("sha256", "SHA256"),
                good[:-1],
                good + "0",
                f"{good},{good}",
                f"{good} ",
                f'"{good}"',
                "sha256=" + "0" * 64,
                "sha256=",
                "",
                "sha256=" + "é" * 32,
                good.replace("0", "\uff10"),
                "a" * 9000,
            ]
        ),
    )  # fmt: skip


_SHARES: dict[Callable[[Random, Draft], None], int] = {
    _header_left_out: 12,
    _header_twice: 12,
    _odd_value: 8,
    _odd_extra: 6,
    _extra: 8,
    _many_headers: 2,
    _spaced_header: 5,
    _length: 8,
    _chunked: 6,
    _method: 5,
    _target: 6,
    _version: 4,
    _content_type: 6,
    _event: 6,
    _guid_changed: 6,
    _hook_id: 6,
    _signature: 16,
}
_CHANGES, _WEIGHTS = list(_SHARES), list(_SHARES.values())


# --- Damage to its bytes ----------------------------------------------------------------------------------------------


def _bytes_flipped(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 8])):
        # Most of a request is its body; most of what can go wrong is not.
        place = random.randrange(min(len(data), 600) if random.random() < 0.7 else len(data))
        changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut_off(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data))]


def _piece_removed(random: Random, data: bytes) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + data[place + random.randint(1, 30) :]


def _piece_repeated(random: Random, data: bytes) -> bytes:
    place = random.randrange(min(len(data), 700))
    return data[:place] + data[place : place + random.randint(1, 300)] + data[place:]


def _bytes_put_in(random: Random, data: bytes) -> bytes:
    place = random.randrange(min(len(data), 700))
    piece = random.choice([b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", random.randbytes(8)])
    return data[:place] + piece + data[place:]


def _bare_line_feeds(_random: Random, data: bytes) -> bytes:
    head, end, body = data.partition(b"\r\n\r\n")
    return (head + end).replace(b"\r\n", b"\n") + body


def _folded(_random: Random, data: bytes) -> bytes:
    return data.replace(b": ", b":\r\n ", 3)


_DAMAGES = (
    _bytes_flipped,
    _bytes_flipped,
    _bytes_flipped,
    _cut_off,
    _cut_off,
    _piece_removed,
    _piece_repeated,
    _bytes_put_in,
    _bare_line_feeds,
    _folded,
)
