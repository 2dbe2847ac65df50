"""Words in capitals: spelled (FBI), spoken (NASA), or only shouted.

A spelled one becomes letters separated by spaces, F B I, because full stops would confuse the sentence splitter. In a
shouted line only those are spelled that can't be words.
"""

from __future__ import annotations

import re

from tts.normalize.tables import any_of, table, words

SPOKEN = words("""
AIDS AJAX ASAP ASEAN ASIC ASUS BASIC BERT BIOS BRR CAPTCHA COBOL COVID CUDA DARPA DR FEMA FIAT FIFA FLOTUS GIF GRR HM
HMM IKEA JPEG JSON LAN LASER LEGO LIDAR LISP LLAMA LOL LORA MERS MIDI MM MMM MR MRS MS NAFTA NASA NASDAQ NATO NIMBY NIST
NOAA NORAD NTH NUMA OK OPEC OSHA PFFT PIN POTUS PSST RADAR RAID RAM ROM SAAB SARS SCOTUS SCUBA SEAT SH SHH SIM SIMD SOHO
SONAR SQL ST SWAT TED TESLA TOML TSK UEFA UNESCO UNICEF UNIX VESA VISA VS WAN WASM YAML YOLO ZZZ
""")
SPELLED = words("""
AAA ABC ABS AC ACL ACM AD ADHD ADP AES AI AKA ALS AM AMA AMD AOL APA API APIS APR APY AR ASMR ASR ATF ATM ATP AV AVI AWS
BA BAE BBC BMI BMW CAD CBS CEO CFO CGI CI CIA CIO CLI CNN COO CPA CPU CRO CTO DC DEA DIY DNA DOA DOB DOD DOE DOI DOJ ECG
EDM EDT EEG EKG EMT EOD EOF EOL EPA EPS EQ ER ESA ESL ESP ESPN EST ET ETA ETF ETFS EU EULA EV EVS EXE FAA FAQ FBI FDA
FEC FIFO FYI GCSE GDP GIS GPA GPS GPU HBO HIV HOA HR IBM ICU ID IDE IDF IDK IDS IEC IEEE IIRC IKR IMF IMHO IMO IO IOC
IOS IOT IP IPO IQ IRA IRL IRS ISBN ISO ISP ISSN IT ITV IVF KPI LAPD LCD LED LGBT LLC LLM LLMS MBA MIA MIT MMA MOU MRI
NAACP NBA NBC NDA NFL NGO NGOS NHL NIH NIO NPO NPU NSA NYC NYU OBE OCD OCR OECD OEM OLED ORM OS OTC PAC PDF PE PHP PM
POS PR PTA QA QR RDA RNA ROI RSVP RV SDK SEC SEO SLA SOC SOS STI SUV SUVS TBA TLA TPU TTS TV UAE UAT UAV UBS UCL UCLA
UDP UEA UFO UHD UHF UI UK UN UPS URI URL USA USB USPS USSR UTC UTF UV UX VAT VIP VIPS VOA VOD VR WTO WWI WWII XL XML XP
XR YMCA
""")
# In a shouted line these may be words.
AMBIGUOUS = words("ABS AD AI AM ER EST ET HR ID IO IT OS PAC PE PR SEC SOC SOS UN US")
WORLD_WARS = {"WWI": "World War One", "WWII": "World War Two", "WW1": "World War One", "WW2": "World War Two"}
MIXED = table("""
PhD=P_H_D PhDs=P_H_D's BSc=B_S_C MSc=M_S_C iOS=i_O_S IoT=I_o_T SaaS=sass CO2=C_O_two kWh=kilowatt_hour NaCl=N_A_C_L
NaOH=N_A_O_H HCl=H_C_L KCl=K_C_L NOx=N_O_X SOx=S_O_X SpO2=S_P_O_two pH=P_H CO2e=C_O_two_E TL;DR=T_L_D_R .NET=dot_net
""")
VOWELS = frozenset("AEIOUY")
MAX_UNKNOWN = 5  # letters of an unknown word without a vowel that is spelled

NEEDED = re.compile(r"[A-Z]{2}|[A-Z]&|[a-z][A-Z]|[A-Z][a-z]+[A-Z]")
TOKEN = re.compile(r"(?<![\w.&])(?P<word>[A-Z]{2,15})(?P<s>s)?(?![\w&]|\.[A-Za-z])|(?<![\w.])(?P<war>WW[12])\b")
MIXED_TOKEN = re.compile(rf"(?<![\w.]){any_of(MIXED)}(?!\w)")
AMPERSAND = re.compile(r"(?<![\w&])(?P<first>[A-Z]{1,3})&(?P<second>[A-Z]{1,3})(?![\w&])")
SLASH = re.compile(r"(?<=[A-Z]{2})/(?=[A-Z]{2})")
WORD = re.compile(r"[A-Za-z']+")


def acronyms(text: str) -> str:
    """Line by line, because only some may be shouted."""
    if not NEEDED.search(text):
        return text
    text = MIXED_TOKEN.sub(lambda m: MIXED[m[0]], text)
    text = AMPERSAND.sub(lambda m: f"{' '.join(m['first'])} and {' '.join(m['second'])}", text)
    return "".join(map(_line, text.splitlines(keepends=True)))


def _line(line: str) -> str:
    is_shouted = _is_shouted(line)
    return TOKEN.sub(lambda m: _said(m, is_shouted), SLASH.sub(" ", line))


def _is_shouted(line: str) -> bool:
    """Whether most words are in capitals, of which at least two may be plain words, and one certainly is."""
    words = [word for word in WORD.findall(line) if len(word) > 1]
    loud = [word for word in words if word.isupper()]
    certain = [word for word in loud if not (word in SPELLED or word in SPOKEN or _is_vowelless(word))]
    perhaps = [word for word in loud if word in AMBIGUOUS]
    return bool(certain) and len(certain) + len(perhaps) >= 2 and len(loud) * 2 > len(words)


def _is_vowelless(word: str) -> bool:
    return not VOWELS & set(word)


def _said(match: re.Match[str], is_shouted: bool) -> str:
    word = match["war"] or match["word"]
    if word in WORLD_WARS:
        return WORLD_WARS[word]
    if not _is_spelled(word, is_shouted):
        return match[0]
    return " ".join(word) + ("'s" if match["s"] else "")


def _is_spelled(word: str, is_shouted: bool) -> bool:
    if is_shouted:
        return word in SPELLED and word not in AMBIGUOUS
    if word in SPOKEN:
        return False
    return word in SPELLED or word == "US" or (len(word) <= MAX_UNKNOWN and _is_vowelless(word))
