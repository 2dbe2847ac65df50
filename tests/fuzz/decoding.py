"""A process that reads damaged recordings, so that libav crashes only a child: `python -m tests.fuzz.decoding FIRST
LAST`. Prints each file's name before it is read, and finally the costs as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter

import numpy as np

from audio.decoder import decode_here
from audio.reference import MAX_LEAD_S
from audio.reference_cleaning import clean
from tests.fuzz.damage import corpus, damaged
from tests.fuzz.gauge import Gauge
from validation.errors import ReferenceAudioError

SECONDS = 60.0  # the most that a request may ask for
LAST_RESORT_BYTES = 4 << 30  # of addresses, so that this process ends before the machine's memory does


def main(first: int, last: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LAST_RESORT_BYTES, LAST_RESORT_BYTES))
    gauge, ends = Gauge(), Counter[str]()
    for data in corpus().values():
        _end_of(data)  # what is imported and built at the first use is not the first file's cost
    for number in range(first, last):
        name, data = damaged(number)
        print(name, flush=True)
        with gauge.over(name):
            end = _end_of(data)
        ends[end] += 1
    print(json.dumps(gauge.report() | {"kind": "recordings", "ends": ends}))


def _end_of(data: bytes) -> str:
    try:
        decoded = decode_here(data, SECONDS + MAX_LEAD_S)
        clean(decoded.samples, decoded.rate_hz, round(SECONDS * decoded.rate_hz))
    except ReferenceAudioError as error:
        json.dumps(error.to_reply(), allow_nan=False)
        return "refused"
    assert np.isfinite(decoded.samples).all()
    assert 0 < len(decoded.samples) <= (SECONDS + MAX_LEAD_S) * decoded.rate_hz
    return "read"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
