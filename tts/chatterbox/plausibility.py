"""Whether speech tokens can be a text's, judged by their duration and by repetition, before they are rendered."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tts.chatterbox.rates import TOKENS_PER_S
from tts.engine import ImplausibleSpeech
from tts.text.graphemes import spoken_chars
from validation.markup import tag_spans, without_tags

# Seconds per letter, and for pauses and breath in a segment. Speech has about 15 Latin letters or 4 to 5 ideographs a
# second (Pellegrino et al. 2011, doi 10.1353/lan.2011.0057, in syllables). The limits are a tenth beyond what two
# engines needed for thousands of texts at 0.7 and 1.4 times their pace, but for the fastest one in a thousand: lower,
# the first would let more texts through of which only a third was said (`bench.listen.paces`).
FASTEST_S, SLOWEST_S, AROUND_S = 0.03, 0.13, 3.0
TAG_S = 2.0  # a laugh at most
MOST_OF_DIGIT, MOST_OF_SIGN = 10, 4  # at most: "9" may be "nine hundred", "/" is a word to some, "." a pause
WORD = re.compile(r"[^\W_]+")
LOOP_S, LONGEST_PERIOD_S = 3.0, 1.2  # a loop this long is no speech; the longest period looked for
REPEATS = 3


def check_tokens(codes: Sequence[int], text: str, stopped: bool) -> ImplausibleSpeech | None:
    """What is wrong with a segment's speech codes, if anything. stopped: by the stop token, not by the token limit."""
    duration_s, (fewest, most) = len(codes) / TOKENS_PER_S, letters_between(" ".join(without_tags(text).split()))
    least_s, most_s = FASTEST_S * fewest, SLOWEST_S * most + AROUND_S + TAG_S * len(tag_spans(text))
    loop_s = longest_loop_s(codes)
    excess = max(least_s - duration_s, duration_s - most_s, 0.0) + loop_s
    if not stopped:
        return ImplausibleSpeech("length", "it reached the token limit and may be cut", excess + duration_s)
    if loop_s:
        return ImplausibleSpeech("loop", f"it repeats one sound for {loop_s:.1f} s", excess)
    if excess:
        return ImplausibleSpeech("pace", f"it lasts {duration_s:.1f} s, not {least_s:.1f} to {most_s:.1f} s", excess)
    return None


def letters_between(text: str) -> tuple[int, int]:
    """How many Latin letters take about as long to say, at least and at most.

    At least: signs are silent, and a digit is a letter, as "1,000,000" is two words.
    """
    digits = sum(map(str.isdigit, text))
    signs = sum(not (char.isalnum() or char.isspace()) for char in text)
    fewest = spoken_chars(" ".join(WORD.findall(text)))
    return fewest, spoken_chars(text) + (MOST_OF_DIGIT - 1) * digits + (MOST_OF_SIGN - 1) * signs


def longest_loop_s(codes: Sequence[int]) -> float:
    """Duration of the longest stretch that repeats one period, if that is too long for speech; else 0."""
    line = np.asarray(codes)
    longest = 0
    for period in range(1, round(LONGEST_PERIOD_S * TOKENS_PER_S) + 1):
        repeated = _longest_run(line[period:] == line[:-period])
        if repeated >= REPEATS * period:
            longest = max(longest, repeated + period)
    return longest / TOKENS_PER_S if longest >= LOOP_S * TOKENS_PER_S else 0.0


def _longest_run(flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    ends = np.flatnonzero(np.concatenate(([True], ~flags, [True])))
    return int(np.diff(ends).max(initial=1)) - 1
