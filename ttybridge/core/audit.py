"""Lines of the audit log: who came, left, was refused, and who changed whose rights.

What stands in a line is chosen from a list of fields: a token, a link's text, key material, and
what is typed or shown have none.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

FIELDS = (
    *("who", "id", "before", "role", "by", "via", "address"),
    *("link", "uses", "endsAt", "on", "name", "input", "why"),
)
"""What a line may tell, in this order, after `at` and `event`."""

MAX_TEXT = 200
"""Longest value, in characters."""

Record = Mapping[str, str | int | float | bool]
"""One event, as it is written."""


def record(event: str, at_s: float, fields: Mapping[str, object]) -> Record:
    r"""Return an event; fields that have no place in the log, or no value, are left out.

    Args:
        event: What has happened, in a word.
        at_s: Seconds since 1970.
        fields: What there is to tell.

    >>> record("join", 0.5, {"who": "Ada\x1b[1m", "role": "viewer", "token": "secret", "by": ""})
    {'at': '1970-01-01T00:00:00.500Z', 'event': 'join', 'who': 'Ada[1m', 'role': 'viewer'}
    >>> record("link", 0, {"endsAt": 60})["endsAt"]
    '1970-01-01T00:01:00.000Z'
    """
    shown: dict[str, str | int | float | bool] = {"at": _time(at_s), "event": event}
    for name in FIELDS:
        value = fields.get(name)
        if name == "endsAt" and isinstance(value, int | float):
            shown[name] = _time(value)
        elif isinstance(value, bool | int | float):
            shown[name] = value
        elif value is not None and (text := _clean(str(value))):
            shown[name] = text
    return shown


def line(event: Record) -> str:
    """Return the line of an event: JSON in ASCII, so that no editor or terminal is misled by it."""
    return json.dumps(event) + "\n"


def _time(at_s: float) -> str:
    at = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return at.removesuffix("+00:00") + "Z"


def _clean(text: str) -> str:
    """Return a text in one line without controls, at most `MAX_TEXT` characters."""
    return "".join(c for c in text[:MAX_TEXT] if c.isprintable()).strip()
