"""Times of day in English: of a clock, of the military, in a time zone; and the length of a race or a film."""

from __future__ import annotations

import re

from tts.normalize.english.numbers import Variety, below_hundred, two_digits
from tts.normalize.english.scan import LETTER, Shape, stop_after, text_after, text_before
from tts.normalize.tables import MONTHS, WEEKDAYS, any_of

HALF = r"[ \t]?(?P<half>[AaPp])(?:\.[Mm]\.|[Mm]\b)"
CLOCK = re.compile(
    rf"(?<![0-9:.,])(?P<hour>[0-9]{{1,2}})(?:(?::(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9])"
    rf"(?:[.,][0-9]{{1,6}})?)?"
    rf"|\.(?P<minute_uk>[0-5][0-9])(?=[ \t]?[AaPp]\.?[Mm]\b))(?:{HALF})?|[ \t]?(?P<half_alone>[AaPp])(?:\.[Mm]\."
    rf"|[Mm]\b))"
    r"(?![0-9:])(?P<zulu>Z\b)?"
    r"(?P<offset>(?:\+| \+(?=[0-9]{2}:?[0-9]{2}\b)|(?<=[0-9]:[0-9]{2}:[0-9]{2})(?: (?=.[0-9]{4}\b))?[-−])"
    r"[01][0-9](?::?[0-5][0-9])?(?![0-9:]))?"
)
# 0600 hours, 0900-1700 hrs, 0430 GMT. Without a leading zero 1500 hours is a duration, except after “at”.
FOUR = r"(?:[01][0-9]|2[0-3])[0-5][0-9]"
MILITARY = re.compile(
    rf"(?<![\w.,:$£€/-])(?:(?P<since>{FOUR}) ?(?:[-–]|to) ?)?(?P<time>{FOUR})(?:"
    r"(?P<hours> ?(?:hours|hrs|h|H)\b\.?(?! of\b))|(?P<zulu>Z\b)"
    r"|(?= (?:GMT|UTC|BST|CES?T|[ECMP][SD]?T|local time|Zulu)\b)|(?P<bare>(?![\w%-]|[.,:/ ][0-9])))"
)
AT = re.compile(
    r"(?:\b(?i:at|by|until|till|from|since|before|between|depart(?:s|ed)?|arrive[sd]?|starts?|begins?|ends?"
    r"|no later than|and|etd|eta):?|@) \Z"
)
ON_A_DAY = re.compile(r"[ ,]{1,2}(?:on|today|tomorrow|yesterday|tonight|local|zulu|[A-Z][a-z]{2,5}day)\b")
# h:mm:ss of a race or a film, and m:ss with too many minutes for a time of day.
LENGTH = re.compile(
    r"(?<![\w:.,])(?:(?P<hours>[0-9]):)?(?P<minutes>[0-9]{1,2}):(?P<seconds>[0-5][0-9])"
    r"(?![\w:/]|[.,][0-9]| ?[AaPp]\.?[Mm]\b)"
)
LASTING = re.compile(
    r"\b(?:records?|marathons?|races?|racing|ran|runs?|running|runner|finish\w*|clocked|durations?|run ?times?"
    r"|times? of|long|lengths?|last(?:s|ed|ing)?|videos?|film|movie|podcast|episode|elapsed|total time|personal best|PB"
    r"|PR|[0-9]{1,3} ?k|ironman|triathlon|splits?|laps?|miles?|km|possession|faster|slower|timed?|took)\b"
)
NOT_LASTING = re.compile(r"\b(?i:at|from|to|until|odds of|ratio of|score of) \Z")
# 5:12/km, 5'12"/km
PACE = re.compile(r"(?<![\w:.,'])(?P<minutes>[0-9]{1,2})[:'′](?P<seconds>[0-5][0-9])[\"″]? ?/ ?(?P<unit>km|mi)\b")
ZONE = re.compile(r"\b(?P<zone>UTC|GMT) ?(?P<offset>[+−-] ?[01]?[0-9](?::?[0-5][0-9])?)(?![0-9:])")
# A weekday, a month or a zone after “p.m.” continues the sentence.
GOES_ON = re.compile(rf" (?:{any_of([*MONTHS, *WEEKDAYS.values()])}|[ECMP][SD]?T|UTC|GMT|BST|CEST?|Eastern|Pacific)\b")


def _clock(match: re.Match[str], variety: Variety) -> str | None:
    hour, minute = int(match["hour"]), match["minute"] or match["minute_uk"]
    half = match["half"] or match["half_alone"]
    if hour > 24 or (half and not 1 <= hour <= 12):
        return None
    words = [hour_and_minute(hour, minute, has_half=bool(half))]
    is_stamp = match["zulu"] or match["offset"]
    if match["second"] and not (is_stamp and match["second"] == "00"):
        words.append(f"and {below_hundred(int(match['second']))} seconds")
    words += [f"{half.upper()} M"] if half else []
    if is_stamp:
        return f"{' '.join(words)}, U T C {_offset(match['offset'] or '')}".rstrip()
    stop = "" if not half or GOES_ON.match(match.string, match.end()) else stop_after(match)
    return " ".join(words) + stop


def _military(match: re.Match[str], variety: Variety) -> str | None:
    before, written = text_before(match), match["time"]
    if match["bare"] is not None:  # at 0748
        is_time = written[0] == "0" and not match["since"] and before.lower().endswith(" at ")
        return _four(written) if is_time else None
    is_time = written[0] == "0" or match["since"] or not match["hours"] or ON_A_DAY.match(match.string, match.end())
    if not (is_time or AT.search(before)):
        return None
    since = f"{_four(match['since'])} to " if match["since"] else ""
    stop = stop_after(match) if match["hours"] else ""
    return since + _four(written) + (" hours" if match["hours"] else " Zulu" if match["zulu"] else "") + stop


def _four(written: str) -> str:
    """Oh six hundred, fourteen thirty, twenty-one oh five."""
    hour = "zero" if written[:2] == "00" else two_digits(written[:2])
    return f"{hour} {'hundred' if written[2:] == '00' else two_digits(written[2:])}"


def _length(match: re.Match[str], variety: Variety) -> str | None:
    if not (match["hours"] or int(match["minutes"]) > 24):
        return None
    before = text_before(match).rpartition(". ")[2]
    is_lasting = LASTING.search(before + " " + text_after(match, 30)) and not NOT_LASTING.search(before)
    if int(match["minutes"]) > 59 or not is_lasting:
        return None
    named = [(match["hours"] or "0", "hour"), (match["minutes"], "minute"), (match["seconds"], "second")]
    words = [f"{below_hundred(int(n))} {unit}{'s' * (int(n) != 1)}" for n, unit in named if int(n)]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _pace(match: re.Match[str], variety: Variety) -> str:
    seconds = "minutes" if match["seconds"] == "00" else two_digits(match["seconds"])
    return f"{below_hundred(int(match['minutes']))} {seconds} per {'mile' if match['unit'] == 'mi' else 'kilometer'}"


def _offset(written: str) -> str:
    """+05:30 → plus five thirty; nothing for zero."""
    figures = re.sub("[^0-9]", "", written)
    hours, minutes = (figures[:-2], figures[-2:]) if len(figures) > 2 else (figures, "00")
    if not figures.strip("0"):
        return ""
    sign = "plus" if "+" in written else "minus"
    return f"{sign} {below_hundred(int(hours))}" + (f" {below_hundred(int(minutes))}" if int(minutes) else "")


def hour_and_minute(hour: int, minute: str | None, *, has_half: bool) -> str:
    """`has_half`: a.m. or p.m. follows."""
    if minute is None or (minute == "00" and has_half):
        return below_hundred(hour)
    if minute != "00":
        return f"{below_hundred(hour)} {two_digits(minute)}"
    if hour in (0, 24):
        return "midnight"
    return f"{below_hundred(hour)} o'clock" if hour <= 12 else f"{below_hundred(hour)} hundred"


TIMES = (
    Shape(MILITARY, _military),
    Shape(PACE, _pace),
    Shape(LENGTH, _length),
    Shape(CLOCK, _clock),
    Shape(ZONE, lambda m, v: f"{' '.join(m['zone'])} {_offset(m['offset'])}", LETTER),
)
