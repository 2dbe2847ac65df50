"""< and > before a number in words, since a value without its sign may mean the opposite. And <3 as a heart."""

from __future__ import annotations

import re

from tts.normalize.tables import words

SIGN = re.compile("[<>≤≥]")
# LaTeX is skipped: `english.formulas` reads its signs.
BOUND = re.compile(
    r"(?P<latex>\$[^$\s0-9][^$\n]{0,200}\$|\\[(\[][^\n\\]{0,200}\\[)\]])"
    r"|(?<![<>=!])(?P<sign><=?|(?<!-)>=?|[≤≥]) ?(?=[-−+~]?[$£€¥]?\.?[0-9])"
)
# The end of a sentence, not of an abbreviation: 95%. <1% had it.
AFTER_SENTENCE = re.compile(r"(?:\w[!?]|[%0-9)]\.|[^\W\d_]{2}(?<!prox)(?<!max)(?<!min)(?<!\bca)(?<!\bvs)\.)[\"')]? \Z")
AFTER_SENTENCE_CHARS = 8
WORDS = {
    "en": ("less than", "greater than", "at most", "at least"),
    "de": ("unter", "über", "höchstens", "mindestens"),
    "fr": ("moins de", "plus de", "au plus", "au moins"),
    "es": ("menos de", "más de", "como máximo", "al menos"),
    "it": ("meno di", "più di", "al massimo", "almeno"),
    "pt": ("menos de", "mais de", "no máximo", "pelo menos"),
    "nl": ("minder dan", "meer dan", "hoogstens", "minstens"),
    "sv": ("mindre än", "mer än", "högst", "minst"),
    "da": ("mindre end", "mere end", "højst", "mindst"),
    "nb": ("mindre enn", "mer enn", "høyst", "minst"),
    "pl": ("mniej niż", "więcej niż", "najwyżej", "co najmniej"),
    "ru": ("меньше", "больше", "не более", "не менее"),
    "fi": ("alle", "yli", "enintään", "vähintään"),
    "tr": ("küçüktür", "büyüktür", "en fazla", "en az"),  # the signs' names: "less than" would follow its number
}

# A heart is at the end of a sentence, after a word of LOVED or a mark; anywhere else <3 is a comparison.
HEART = re.compile(r"(?:(?P<before>(?<!\S)\S{1,20}) |\A *)<3(?= *(?:[.,!?)\n]|\Z))|(?<=\bI )<3 (?=[A-Za-z])")
LOVED = words("""
it me us you u ya her him them this that all everyone guys girls mom dad so much love luv loved thanks thank happy cute
sweet proud excited amazing lovely awesome adorable beautiful friends family babe ily xoxo forever always
""")


def speak_comparisons(text: str, language: str) -> str:
    """`language` is a primary subtag; the signs stay in one that is not in WORDS."""
    words = WORDS.get(language)
    if words is None or not SIGN.search(text):
        return text
    text = HEART.sub(_heart, text)
    said = dict(zip(("<", ">", "<=", ">=", "≤", "≥"), (*words, *words[2:]), strict=True))

    def read(bound: re.Match[str]) -> str:
        if bound["latex"]:
            return bound[0]
        at, words = bound.start(), said[bound["sign"]]
        before = text[max(0, at - 1) : at]
        if AFTER_SENTENCE.search(text, max(0, at - AFTER_SENTENCE_CHARS), at):
            words = words[0].upper() + words[1:]
        return ("" if not before or before.isspace() or before in "([\"'|" else " ") + words + " "

    return BOUND.sub(read, text)


def _heart(match: re.Match[str]) -> str:
    word = match["before"]
    return "" if not word else word if word.lower() in LOVED or word[-1] in "!?.~)" else match[0]
