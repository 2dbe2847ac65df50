"""Tables of words: how they are written in these modules, and how they become alternatives of a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable

MONTHS = "January February March April May June July August September October November December".split()


def words(listed: str) -> frozenset[str]:
    """Words separated by white space."""
    return frozenset(listed.split())


def table(rows: str) -> dict[str, str]:
    """ "al=aluminium N.Y=New_York" → a dict; an underscore stands for a space."""
    return dict(row.replace("_", " ").split("=", 1) for row in rows.split())


def any_of(alternatives: Iterable[str]) -> str:
    """A pattern that matches one of them, the longest first."""
    return f"(?:{'|'.join(map(re.escape, sorted(alternatives, key=len, reverse=True)))})"


WEEKDAYS = table("""
Mon=Monday Tue=Tuesday Tues=Tuesday Wed=Wednesday Thu=Thursday Thurs=Thursday Fri=Friday Sat=Saturday Sun=Sunday
""")
SHORT_MONTHS = {name[:3]: name for name in MONTHS} | {"Sept": "September"}
