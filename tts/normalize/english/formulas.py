"""Formulas in English: LaTeX between its marks, algebra as it is typed (y = 2x - 3), and chemistry (CO₂, 2 H2SO4).

LaTeX becomes the algebra it stands for, with words for its commands. An expression of algebra is one shape, so that
its signs are operators and its letters variables, which they are not in the text around it. Chemical formulas are
spelled; what is written like a product as well (B2B, U2) is one only if it is known, or has a subscript.
"""

from __future__ import annotations

import re

from tts.normalize.english.numbers import SMALL_DIGITS, Variety, below_hundred, fraction, is_fraction, number
from tts.normalize.english.scan import DIGIT, LETTER, MARK, Shape, text_before
from tts.normalize.english.units import UNIT
from tts.normalize.tables import table, words

# Dollars may be prices: between two there must be a sign of LaTeX, one or two letters or a number, without a space
# beside them.
LATEX = re.compile(
    r"\$\$(?P<display>[^$]{1,500})\$\$|\\\[(?P<bracket>[^$]{1,500}?)\\\]|\\\((?P<paren>[^$]{1,500}?)\\\)"
    r"|\\begin\{(?P<name>equation|align)\*?\}(?P<block>[^$]{1,500}?)\\end\{(?P=name)\*?\}"
    r"|(?<![\w$\\])\$(?P<inline>(?=[^$\n]{0,200}?[\\^_={}<>+]|[A-Za-z]{1,2}\$"
    r"|-?[0-9.]{1,9}\$)(?! )[^$\n]{1,200}(?<! ))\$(?![\w$])"
)
PROSE = re.compile(r"[a-z]{4,} [a-z]{2,}|(?<!\\)\b(?:and|or|then|the|for|of)\b|[0-9] (?:[a-z]{2,}|\d)")
COMMANDS = table("""
leq=≤ le=≤ geq=≥ ge=≥ neq=≠ ne=≠ approx=≈ sim=≈ equiv=_is_equivalent_to_ times=× cdot=× div=÷ pm=± to=→ rightarrow=→
Rightarrow=_implies_ infty=_infinity_ partial=_partial_ nabla=_nabla_ in=_in_ notin=_not_in_ subset=_subset_of_
cup=_union_ cap=_intersection_ forall=_for_all_ exists=_there_exists_ int=_integral_ sum=_sum_ prod=_product_
lim=_limit_ log=_log_ ln=_natural_log_of_ sin=_sine_ cos=_cosine_ tan=_tangent_ exp=_exp_ max=_max_ min=_min_ ldots=...
cdots=... dots=... degree=° circ=° prime=' land=_and_ lor=_or_ neg=_not_ mid=_given_ lt=< gt=> quad=_ qquad=_
""")
GREEK = words("""
alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega
""")
GROUP = r"\{((?:[^{}]|\{[^{}]{0,80}\}){0,160})\}"
SHORT_FRACTION = re.compile(r"\\[dt]?frac ?([0-9])([0-9])")
FRACTION = re.compile(rf"\\[dt]?frac ?{GROUP} ?{GROUP}")
ROOT = re.compile(rf"\\sqrt ?(?:\[([0-9a-z])\])? ?{GROUP}")
BOUNDS = re.compile(
    rf"\\(sum|prod|int|lim)(?:\\limits)? ?(?:(?:_ ?)?{GROUP}|_ ?(\w))(?: ?\^ ?(?:{GROUP}|(\\?\w{{1,10}})))?"
)
TEXT = re.compile(rf"\\(?:text|mathrm|mathbf|mathbb|mathcal|mathit|operatorname|bar|hat|vec|overline) ?{GROUP}")
SUBSCRIPT = re.compile(rf"(?:_ ?|(?<=[A-Za-z])(?={{)){GROUP}|_ ?([A-Za-z0-9])")  # Markdown removes some _ before {
RAISED = re.compile(rf"\^ ?{GROUP}")
COMMAND = re.compile(r"\\([A-Za-z]{1,20})")

# Algebra. A term is a number, a variable or both, in brackets or not, with a power or an exclamation mark after it.
BRACKETS = r"\((?![^()]{0,40}[A-Za-z]{3})[0-9A-Za-z+*/^.×÷ −-]{1,40}\)"
ATOM = rf"(?:[0-9]{{1,12}}(?:\.[0-9]{{1,9}})?[a-z]{{0,3}}|[a-z]{{1,2}}|[A-Z]|[a-z]?{BRACKETS})"
TERM = rf"[-−]?{ATOM}(?:{BRACKETS}){{0,4}}(?:\^(?:-?[0-9]{{1,9}}|[a-z]|{BRACKETS})|[²³])?!?"
EXPRESSION = re.compile(
    rf"(?<![\w'/.$£€#@])(?P<all>{TERM}(?: ?(?:[-−–+*×/=<>≤≥≠÷±]|<=|>=|!=) ?{TERM}){{0,30}})"
    rf"(?![\w^%'°$€£]|[.,:/-][0-9a-zA-Z]| ?{UNIT})"
)
TOKEN = re.compile(
    r"(?P<over>[0-9]{1,3})/(?P<under>[0-9]{1,4})(?![0-9.a-z])|(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<word>[A-Za-z]+)|(?P<sign><=|>=|!=|[²³]|\^|[^\s\w])"
)
COMPARISONS = dict(
    row.split(" ", 1)
    for row in "< less than,> greater than,≤ at most,≥ at least,<= at most,>= at least,= equals,≠ is not equal to"
    ",!= is not equal to,÷ divided by,± plus or minus".split(",")
)
OPERATORS = COMPARISONS | dict(zip("+*×/-−–", "plus times times over minus minus minus".split(), strict=True))
OPERATORS |= {"^": "to the power of", "²": "squared", "³": "cubed", "!": "factorial"}
WORDS = words("an as at be by do go he if in is it me my no of on or so to up us we am ok hi oh km kg cm mm")
VARIABLE = re.compile(r"(?<![A-Za-z])(?:[0-9.]*[b-hj-z]|[b-zB-HJ-Z]|mc|[a-z]{2}(?= ?\^))(?![A-Za-z'])|[a-z]\(")
POWER = re.compile("[\\^²³]")
ASSIGNED = re.compile(r"[\w)!] ?=")
FUNCTION = re.compile(r"(?<![A-Za-z0-9])(?P<name>[fghP])\((?P<of>[^()]{1,30})\)")
FOLLOWS_NAME = re.compile(r"[A-Za-z]{2,} ?= ?\Z")  # code: timeout = 5


def latex(text: str) -> str:
    """$\\frac{a}{b}$ → a over b, $x^2$ → x^2."""
    return LATEX.sub(_latex, text) if "$" in text or "\\" in text else text


def _latex(match: re.Match[str]) -> str:
    source = match["inline"]
    if source is not None and "\\" not in source and PROSE.search(source):
        return match[0]
    source = source or match["display"] or match["bracket"] or match["paren"] or match["block"]
    plain = " ".join(_without_commands(source).split())
    before = match.string[match.start() - 1 : match.start()] if match.start() else ""
    return (" " if before.isalnum() else "") + plain


def _without_commands(source: str) -> str:
    source = BOUNDS.sub(_bounds, re.sub(r"\\(?:left|right|displaystyle|[,;:! ])|~", " ", source))
    for _ in range(3):  # fractions in fractions
        source = SHORT_FRACTION.sub(r"\1/\2", TEXT.sub(r"\1", source))
        source = ROOT.sub(_root, FRACTION.sub(_fraction, source))
    source = RAISED.sub(lambda m: f"^{m[1]}" if re.fullmatch(r"-?\w", m[1]) or m[1].isdigit() else f"^({m[1]})", source)
    source = SUBSCRIPT.sub(lambda m: f" {m[1] or m[2]}", source)
    source = COMMAND.sub(lambda m: COMMANDS.get(m[1], f" {m[1]} " if m[1].lower() in GREEK else " "), source)
    return re.sub(r"(?<=[\w)}]) ?- ?(?=[\w(])", " − ", re.sub(r"[{}\\&]", " ", source))


def _bounds(match: re.Match[str]) -> str:
    low, high = match[2] or match[3], match[4] or match[5]
    link = "as" if match[1] == "lim" else "from"
    return f"{COMMANDS[match[1]]}{link} {low}" + (f" to {high} of " if high else " of ")


def _fraction(match: re.Match[str]) -> str:
    if match[1].isdigit() and match[2].isdigit():
        return f" {match[1]}/{match[2]} "
    return f" {match[1]} over {match[2]} "


def _root(match: re.Match[str]) -> str:
    return f" {'cube ' if match[1] == '3' else ''}{'' if match[1] else 'square '}root of {match[2]} "


def _expression(match: re.Match[str], variety: Variety) -> str | None:
    written = match["all"]
    if not _is_algebra(written) or FOLLOWS_NAME.search(text_before(match)):
        return None
    written = FUNCTION.sub(r"\g<name> of \g<of> ", written)
    words = " ".join(_said(token, variety) for token in TOKEN.finditer(written))
    return re.sub(r"(?<=\() | (?=\))|(?<=\)) (?=\()|(?<=\b[A-Za-z]) (?=\()", "", words)


def _is_algebra(written: str) -> bool:
    """Whether it has a variable and an equals sign or a power, or is an equation with a factorial."""
    has_letter = VARIABLE.search(written) is not None and not WORDS & set(re.findall("[a-z]+", written))
    is_equation = ASSIGNED.search(written) is not None and re.search("[-−+*×/^!0-9(]", written) is not None
    has_factorial = "!" in written.replace("!=", "")
    return (has_letter and (is_equation or POWER.search(written) is not None)) or (is_equation and has_factorial)


def _said(token: re.Match[str], variety: Variety) -> str:
    if token["over"]:
        over, under = int(token["over"]), int(token["under"])
        if is_fraction(over, under):
            return fraction(over, under, variety)
        return f"{number(token['over'], variety)} over {number(token['under'], variety)}"
    if token["number"]:
        return number(token["number"], variety)
    return OPERATORS.get(token[0], token[0])


# Chemistry.
ELEMENTS = words("""
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Ag Cd
Sn Sb Te I Xe Cs Ba La Ce W Pt Au Hg Pb Bi Rn Ra Th U Pu
""")
KNOWN = words("""
H2 O2 N2 O3 Cl2 F2 Br2 I2 CO2 SO2 SO3 NO2 NO3 N2O N2O4 CH4 NH3 NH4 H2O H2O2 H2S HNO3 HCO3 CO3 SO4 PO4 CCl4 CHCl3 SF6
TiO2 SiO2 UO2 UF6 MgCl2 CaCl2 FeCl3 VO2 PH3 BF3 CS2 KNO3 LiPF6 D2O
""")
SYMBOL = "[A-Z][a-z]?[0-9₀-₉]{0,3}"
ANIONS = words("O S F N Cl Br I H C P Se Te")
CHEMICAL = re.compile(
    rf"(?<![\w.&/-])(?P<count>[0-9]{{0,2}})(?P<formula>(?:{SYMBOL}|\((?:{SYMBOL}){{1,5}}\)[0-9₀-₉]){{1,8}})"
    r"(?P<charge>[²³]?[+⁺⁻]|-(?!\w))?(?!\w|-[A-Z0-9]|\.\w)"
)
PART = re.compile(r"(?P<element>[A-Z][a-z]?|\)|\()(?P<figures>[0-9]*)")
CHARGES = {"²": "two", "³": "three", "+": "plus", "⁺": "plus", "-": "minus", "⁻": "minus"}


def _chemical(match: re.Match[str], variety: Variety) -> str | None:
    plain = match["formula"].translate(SMALL_DIGITS)
    parts = [(part["element"], part["figures"]) for part in PART.finditer(plain)]
    charge = match["charge"] or ""
    is_ion = charge[-1:] in ("⁺", "⁻") or (charge == "+" and len(parts) == 1 and len(plain) == 3)
    is_certain = plain != match["formula"] or is_ion
    if not _is_chemical(plain, parts, is_certain=is_certain) or (charge == "-" and not KNOWN & {plain}):
        return None
    words = [below_hundred(int(match["count"]))] if match["count"] else []
    for element, figures in parts:
        words += [*element.upper().strip("()"), *([below_hundred(int(figures))] if figures else [])]
    return " ".join([*words, *(CHARGES[sign] for sign in charge)])


def _is_chemical(plain: str, parts: list[tuple[str, str]], *, is_certain: bool) -> bool:
    figures = [bool(figures) for _, figures in parts]
    if any(len(each) > 2 or each.startswith("0") for _, each in parts):
        return False
    if not all(element in ELEMENTS or element in "()" for element, _ in parts):
        return False
    if is_certain or plain in KNOWN or "(" in plain:
        return is_certain or any(figures)
    has_small = any(len(element) > 1 for element, _ in parts)
    if len(parts) == 2 and has_small:  # MoS2, FeCl3
        return figures[1] and parts[1][0] in ANIONS and parts[1][1] != "1"
    is_long = any(figures) and len(parts) - figures.index(True) > 2  # CH3COOH
    return (len(parts) > 1 and sum(figures) > 1) or (has_small and any(figures) and len(parts) > 2) or is_long


FORMULAS = (Shape(EXPRESSION, _expression, DIGIT + LETTER + MARK), Shape(CHEMICAL, _chemical, DIGIT + LETTER + MARK))
