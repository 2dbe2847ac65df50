#!/usr/bin/env python3
"""Replace x264 and x265 (GPL-2) in PyAV's wheel by libraries whose functions do nothing.

    scripts/stub_video_codecs.py SITE_PACKAGES

The wheel's FFmpeg (LGPL) is linked against them and does not load without them. It calls them only to encode video,
which the worker never does: each function returns 0, which FFmpeg takes for an error. Needs gcc.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CODECS = ("x264", "x265")


def stub(folder: Path, codec: str) -> None:
    """`folder` has the wheel's libraries, one of each name."""
    (caller,), (library,) = folder.glob("libavcodec-*"), folder.glob(f"lib{codec}-*")
    called = set(re.findall(rb"\0(%s_\w+)(?=\0)" % codec.encode(), caller.read_bytes()))  # the names of its symbols
    source = "".join(f"void *{name.decode()}(void) {{ return 0; }}\n" for name in sorted(called))
    library.unlink()
    options = ["-shared", "-fPIC", "-s", "-nostdlib", f"-Wl,-soname,{library.name}", "-o", str(library)]
    subprocess.run(["gcc", *options, "-x", "c", "-"], input=source.encode(), check=True)


if __name__ == "__main__":
    for name in CODECS:
        stub(Path(sys.argv[1]) / "av.libs", name)
