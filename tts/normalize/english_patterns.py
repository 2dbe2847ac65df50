"""The shapes of written numbers that several kinds of things share. It does not know how any of them is said.

Digits are [0-9], because \\d takes those of every script. Every pattern that begins with digits looks back, so
that it is tried once per number and a long run of digits takes linear time.
"""

from __future__ import annotations

import re

START = r"(?<![0-9])(?<![0-9][.,])"
INDIAN = r"[0-9]{1,2}(?:,[0-9]{2}){1,5},[0-9]{3}"  # 12,34,567
WHOLE = rf"(?:[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,4}}(?![0-9]|,[0-9]{{3}})|{INDIAN}(?![0-9]|,[0-9])|[0-9]{{1,15}}(?![0-9]))"
NUMBER = rf"(?:{WHOLE}(?:\.[0-9]+)?|\.[0-9]+)"
DASH = "[-–—−~]"
MONTHS = "January February March April May June July August September October November December".split()

# What ends a sentence although it ended an abbreviation: the end of the line, or a capital after a space.
SENTENCE_ENDS = re.compile(r"""["')\]]*(?:[ \t]*(?:\n|\Z)|[ \t]+["'(]*[A-Z])""")


def stop_after(match: re.Match[str]) -> str:
    """The full stop to leave where a matched abbreviation ended in one."""
    return "." if match[0].endswith(".") and SENTENCE_ENDS.match(match.string, match.end()) else ""
