"""What an operator typed into a search box, as a value that an index can find."""

import re
import uuid

_NUMBER = re.compile(r"#?([0-9]{1,18})")


def guid_of(term: str) -> uuid.UUID | None:
    """Return the term as a GUID, or None if it is not a whole one. Case and blanks around it do not matter."""
    try:
        return uuid.UUID(term.strip())
    except ValueError:
        return None


def number_of(term: str) -> int | None:
    """Return a row's number from `12` or `#12`; None for any other term."""
    number = _NUMBER.fullmatch(term.strip())
    return int(number[1]) if number else None
