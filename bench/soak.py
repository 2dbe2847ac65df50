"""The document of a soak as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HELD = {
    "rss_mb": "memory, MB",
    "rss_tidy_mb": "  without garbage",
    "files": "open files",
    "threads": "threads",
    "children": "children",
}


def show(document: dict[str, Any]) -> None:
    print(f"{document['jobs']} jobs, {document['at_once']} at once in each worker, seed {document['seed']},", end=" ")
    print(f"{document['took_s']:.0f} s")
    for name, worker in document["workers"].items():
        print(f"\n{name}")
        for row, text in rows(worker).items():
            print(f"  {row:28} {text}")
    print(f"\nuploads: {document['uploads']['files']}, and {document['uploads']['failed']} refused ones, tried again")
    print(f"violations: {len(document['violations'])}")
    for violation in document["violations"]:
        print(f"  {violation}")


def rows(worker: Mapping[str, Any]) -> dict[str, str]:
    warm, end = worker["warm"], worker["end"]
    return {
        "asked": counted(worker["kinds"]),
        "read slowly": str(worker["read_slowly"]),
        "ended": counted(worker["outcomes"]),
        "as the same request alone": f"{worker['identical']} of {worker['outcomes'].get('COMPLETED', 0)}",
        "posts refused, tried again": str(worker["posts_failed"]),
        **{row: f"{warm[key]:g} warm, {end[key]:g} at the end" for key, row in HELD.items()},
        "loop's longest stall, ms": f"{end['stall_ms']:g}; {end['kept_ms']:g} without the wait for a processor",
        "loop's longest work, ms": f"{end['own_ms']:g}",
        "exit status": str(worker["exit_status"]),
    }


def counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
