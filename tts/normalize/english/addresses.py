"""E-mail and web addresses, handles, hashtags and file names, as one dictates them.

A web address is read without scheme, “www”, query and fragment; of its path at most four parts, and only words.
"""

from __future__ import annotations

import re

from tts.normalize.tables import any_of, words

# Of a host without www. Words (in, it, me) are not among them, since the space after a full stop may be missing.
BARE_TLD = r"(?:com|org|net|gov|edu|mil|io|dev|ai|app|info|biz|xyz|uk|de|fr|eu|ca|tv)"
NEEDED = re.compile(r"[@#]|\.\w|://")
EMAIL = re.compile(r"(?<![\w.+%-])[\w+%-](?:[\w.+%-]{0,62}[\w+%-])?@(?:[\w-]{1,63}\.){1,6}[A-Za-z]{2,24}\b")
LINK = re.compile(r"\b(?:https?|ftp)://(?P<rest>[^\s<>\"]{1,2000})", re.IGNORECASE)
HOST = re.compile(
    rf"(?<![\w.@/-])(?:www\.(?:[A-Za-z0-9-]{{1,63}}\.){{1,5}}[A-Za-z]{{2,24}}|(?:[A-Za-z0-9-]{{1,63}}\.){{1,5}}"
    rf"(?i:{BARE_TLD}))"
    r"(?![\w-]|\.[A-Za-z])(?P<path>(?::[0-9]{2,5})?/[^\s<>\"]{0,2000})?"
)
HANDLE = re.compile(r"(?<![\w@/.])@(?P<name>[A-Za-z_][\w.]{0,60}\w|[A-Za-z])")
HASHTAG = re.compile(
    r"(?<![\w#&/])#(?!(?=[A-Fa-f]{0,7}[0-9])(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})\b|[A-Z]{1,5}-[A-Z0-9-]{0,20}[0-9])(?P<name>[A-Za-z_]\w{0,80}|[0-9]{1,15}[A-Za-z]\w{1,60})"
)
TRAILING = re.compile(r"[.,;:!?'\")\]}*]{1,2000}\Z")
UNSPEAKABLE_CHARS = 40  # longer parts of a path are identifiers, not words
MAX_PARTS = 4

ENDINGS = words("""
pdf txt md py js ts jsx tsx html htm css xml csv tsv png svg mp3 mp4 mkv avi mov flac m4a sh cpp rs rb php sql xls xlsx
ppt pptx log cfg conf lock bak tmp gz tgz rar 7z dll so deb rpm dmg apk psd webp webm srt vtt epub zip doc docx bin tar
gif jpg jpeg bat json yaml toml iso exe ini ico app wav ogg opus gguf safetensors ipynb
""")
WORDS = words("zip doc bin tar gif bat log app wav")  # short endings that are spoken, not spelled
FILE = re.compile(rf"(?<![\w@/.])(?P<stem>[\w-]{{1,80}}(?:\.[\w-]{{1,40}}){{0,3}})\.{any_of(ENDINGS)}(?![\w-]|\.\w)")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
MARKS = {".": " dot ", "-": " dash ", "_": " underscore ", "+": " plus ", "%": " percent ", "@": " at "}


def addresses(text: str) -> str:
    """All of them → words; their digits are read later, as numbers."""
    if not NEEDED.search(text):
        return text
    text = EMAIL.sub(lambda m: _spelled(m[0]), text)
    text = LINK.sub(lambda m: _link(m["rest"]), text)
    text = HOST.sub(lambda m: _link(m[0]), text)
    text = FILE.sub(lambda m: m[0] if m["stem"].replace(".", "").isdigit() else _file(m[0]), text)  # not "by 5.so"
    text = HANDLE.sub(lambda m: f"at {_words(m['name'])}", text)
    return HASHTAG.sub(lambda m: f"hashtag {_words(m['name'])}", text)


def _spelled(address: str) -> str:
    """john.doe+news@example.com → john dot doe plus news at example dot com."""
    said = " ".join("".join(MARKS.get(char, char) for char in address).split())
    return CAMEL.sub(" ", said) if any(char.isdigit() for char in said) else said


def _link(rest: str) -> str:
    """An address without its scheme → host and path in words, then the punctuation after it."""
    end = TRAILING.search(rest)
    after = end[0] if end else ""
    address = rest[: len(rest) - len(after)]
    head, *path = re.split(r"[?#]", address, maxsplit=1)[0].split("/")
    host = head.rpartition("@")[2]
    host = host[4:] if host.lower().startswith("www.") else host
    name, _, port = host.partition(":")
    said = _spelled(name) + (f" port {port}" if port else "")
    for part in [part for part in path if _is_speakable(part)][:MAX_PARTS]:
        said += f" slash {_file(part)}"
    return said + after


def _is_speakable(part: str) -> bool:
    return 0 < len(part) <= UNSPEAKABLE_CHARS and "%" not in part and any(char.isalnum() for char in part)


def _file(name: str) -> str:
    """A file's name, or a part of a path that may be one."""
    stem, _, ending = name.rpartition(".")
    return f"{_words(stem)} dot {_ending(ending)}" if stem and ending in ENDINGS else _words(name)


def _ending(ending: str) -> str:
    """Spelled if it has at most three letters and is no word, or has no vowel."""
    is_spelled = ending not in WORDS and (len(ending) <= 3 or not set("aeiou") & set(ending))
    return " ".join(ending.upper()) if is_spelled else ending


def _words(name: str) -> str:
    """The words of a name with camel case, underscores, hyphens and dots."""
    return CAMEL.sub(" ", " ".join(re.sub(r"[^\w.]|_", " ", name).replace(".", " dot ").split()))
