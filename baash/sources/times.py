"""Times as inputs write them, to nanoseconds since 1970. What is not a time is a ValueError that says what is."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_CLOCK = r"[Tt ](?P<hour>\d\d):?(?P<minute>\d\d):?(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9})\d*)?"
_ZONE = r" ?(?P<zone>[Zz]|(?P<sign>[+-])(?P<zone_hour>\d\d):?(?P<zone_minute>\d\d))"
_STRICT = re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)" + _CLOCK + _ZONE, re.ASCII)
_LOOSE = [
    re.compile(date + f"(?:{_CLOCK}(?:{_ZONE})?)?", re.ASCII)
    for date in (
        r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)",
        r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)",
        r"(?P<month>\d\d)-(?P<day>\d\d)-(?P<year>\d\d)",  # as Pegasus wrote it for a while
    )
]
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LIMIT_NS = 1 << 64


def rfc3339(text: str) -> int:
    """An RFC 3339 time with its zone."""
    match = _STRICT.fullmatch(text)
    if match is None:
        raise ValueError("expected an RFC 3339 time such as 2025-03-01T12:00:00Z")
    return _nanoseconds(match)


def workflow_time(text: str) -> int:
    """A time as workflow systems write it; without a zone it is UTC."""
    for pattern in _LOOSE:
        match = pattern.fullmatch(text.strip())
        if match is not None:
            return _nanoseconds(match)
    raise ValueError(
        "expected a time such as 2025-03-01T12:00:00Z, 20250301T120000+0000 or 03-01-25T12:00:00Z (month-day-year)"
    )


def _nanoseconds(match: re.Match[str]) -> int:
    part = match.groupdict()
    year = int(part["year"]) + (2000 if len(part["year"]) == 2 else 0)
    hour, minute, second = (int(part[name] or 0) for name in ("hour", "minute", "second"))
    try:
        time = datetime(year, int(part["month"]), int(part["day"]), hour, minute, second, tzinfo=timezone.utc)
    except ValueError as error:
        raise ValueError(f"no such time: {error}") from None
    passed = time - _EPOCH
    seconds = passed.days * 86400 + passed.seconds
    if part["sign"]:
        zone_hour, zone_minute = int(part["zone_hour"]), int(part["zone_minute"])
        if zone_hour > 23 or zone_minute > 59:
            raise ValueError(f"no such time zone: {part['zone']}")
        offset = zone_hour * 3600 + zone_minute * 60
        seconds -= offset if part["sign"] == "+" else -offset
    nanoseconds = seconds * 10**9 + int((part["fraction"] or "").ljust(9, "0"))
    if not 0 <= nanoseconds < _LIMIT_NS:
        raise ValueError("expected a time from 1970 on")
    return nanoseconds
