"""Chemical formulas in English: CO₂, H2SO4, 2 H₂O. Letters are spelled, figures are numbers.

What is written like a product as well (B2B, U2) is a formula only if it is a known one, or has a subscript.
"""

from __future__ import annotations

import re

from tts.normalize.english_numbers import Variety, below_hundred
from tts.normalize.english_scan import DIGIT, LETTER, MARK, Shape

ELEMENTS = frozenset(
    """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo
    Ag Cd Sn Sb Te I Xe Cs Ba La Ce W Pt Au Hg Pb Bi Rn Ra Th U Pu
    """.split()
)
KNOWN = frozenset(
    """
    H2 O2 N2 O3 Cl2 F2 Br2 I2 CO2 SO2 SO3 NO2 NO3 N2O N2O4 CH4 NH3 NH4 H2O H2O2 H2S HNO3 HCO3 CO3 SO4 PO4 CCl4 CHCl3 SF6
    TiO2 SiO2 UO2 UF6 MgCl2 CaCl2 FeCl3 VO2 PH3 BF3 CS2 KNO3 LiPF6 D2O
    """.split()
)
SYMBOL = "[A-Z][a-z]?[0-9₀-₉]{0,3}"
ANIONS = frozenset("O S F N Cl Br I H C P Se Te".split())
FORMULA = re.compile(
    rf"(?<![\w.&/-])(?P<count>[0-9]{{0,2}})(?P<formula>(?:{SYMBOL}|\((?:{SYMBOL}){{1,5}}\)[0-9₀-₉]){{1,8}})"
    r"(?P<charge>[²³]?[+⁺⁻]|-(?!\w))?(?!\w|-[A-Z0-9]|\.\w)"
)
PART = re.compile(r"(?P<element>[A-Z][a-z]?|\)|\()(?P<figures>[0-9]*)")
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
CHARGES = {"²": "two", "³": "three", "+": "plus", "⁺": "plus", "-": "minus", "⁻": "minus"}


def _formula(match: re.Match[str], variety: Variety) -> str | None:
    plain = match["formula"].translate(SUBSCRIPTS)
    parts = [(part["element"], part["figures"]) for part in PART.finditer(plain)]
    charge = match["charge"] or ""
    is_ion = charge[-1:] in ("⁺", "⁻") or (charge == "+" and len(parts) == 1 and len(plain) == 3)
    is_certain = plain != match["formula"] or is_ion
    if not _is_formula(plain, parts, is_certain=is_certain) or (charge == "-" and not KNOWN & {plain}):
        return None
    words = [below_hundred(int(match["count"]))] if match["count"] else []
    for element, figures in parts:
        words += [*element.upper().strip("()"), *([below_hundred(int(figures))] if figures else [])]
    return " ".join([*words, *(CHARGES[sign] for sign in charge)])


def _is_formula(plain: str, parts: list[tuple[str, str]], *, is_certain: bool) -> bool:
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


CHEMISTRY = (Shape(FORMULA, _formula, DIGIT + LETTER + MARK),)
