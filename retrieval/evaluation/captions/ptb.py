"""Tokens of captions as the COCO caption scorer counts them.

The scorer of COCO captions (Chen et al. 2015, arXiv 1504.00325, section 3.1) cuts texts by the PTBTokenizer of Stanford
CoreNLP 3.4.1, in lower case, and drops punctuation; what it calls a word decides every score. This is that cut without
Java, found by watching what the original does with captions and with made-up words: the longest rule wins, of equally
long ones the first.

What is not followed: the original drops letters that came into Unicode after 2010; it takes full stops for the end of a
sentence by the first word of the next caption of a file, where here a caption stands alone; and it may cut elsewhere in
heaps of apostrophes, smileys within words, and markup that holds an @.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""What the scorer drops.

Brackets count as words: the scorer's list names them in capitals, after the tokens were put in lower case. So do `?!`,
`*` and other signs that the list does not name.
"""

HARD_SPACE = "\u00a0"
"""Stands for a space within a token, as of a phone number: BLEU and CIDEr count two words there, ROUGE-L one."""

Rewrite = Callable[[str], str]
"""What was cut out, to the tokens that it stands for, with spaces between."""


def tokenise(text: str) -> str:
    """Cut a caption into tokens with spaces between, in lower case and without punctuation."""
    return " ".join(token for token in tokens(text) if token not in PUNCTUATION)


def tokens(text: str) -> list[str]:
    """Cut a caption into tokens in lower case, punctuation included; brackets and quotation marks are rewritten."""
    found: list[str] = []
    at = 0
    while at < len(text):
        if plain := _PLAIN.match(text, at):
            word = plain[1].lower()
            found += [word[:3], word[3:]] if word in _CUT_IN_TWO else [word]
            at = plain.end()
        else:
            end, rewrite = _longest(text, at)
            found += rewrite(text[at:end]).lower().split(" ")
            at = end
    return [token for token in found if token]


@dataclass(frozen=True)
class _Rule:
    """A pattern whose first group is the token; what has to follow is behind the group and counts for the length."""

    pattern: re.Pattern[str]
    rewrite: Rewrite


def _longest(text: str, at: int) -> tuple[int, Rewrite]:
    """Choose the rule that reaches furthest from a place: where its token ends, and how it is written."""
    best: Rewrite = _one_sign
    end, reach = at + 1, at
    for rule in _RULES:
        match = rule.pattern.match(text, at)
        if match is not None and match.end() > reach:
            best, end, reach = rule.rewrite, match.end(1), match.end()
    return end, best


# A letter is one of Unicode's first plane, with its accents; numbers in circles and fractions are none.
_MARKS = (
    "\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u064b-\u065e\u0670\u0900-\u0903\u093c\u093e-\u094e"
    "\u0e31\u0e34-\u0e3a"
)
_NO_LETTERS = (
    "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070\u2074-\u2079\u2080-\u2089\u2150-\u2189\u2460-\u249b\u24ea-\u24ff"
    "\u2776-\u2793\U00010000-\U0010ffff"
)
_LETTER = rf"(?:[^\W\d_{_NO_LETTERS}]|[{_MARKS}])"
_SIGN = rf"(?:[^\W_{_NO_LETTERS}]|[{_MARKS}])"
_APOSTROPHE = "['\u2019\u0092]"
_QUOTE = "['\u2019\u0092`\u2018\u0091\u201b]"
_NUMBER = r"(?:\d*(?:[.:,]\d+)+|\d+)"
_LONG_NUMBER = r"\d+(?:[.:,]\d+)+"
_WORD = rf"{_LETTER}{_SIGN}*(?:[.!?]{_LETTER}{_SIGN}*)*"
_OF = rf"(?:[dlo]{_QUOTE}[a-z0-9])?"
_HYPHENED = rf"{_OF}(?:{_LONG_NUMBER}(?!{_SIGN})|{_SIGN}+|{_LONG_NUMBER})(?:[-_\u058a\u2010\u2011]{_OF}{_SIGN}+)*"
_INITIALS = r"[a-z](?:\.[a-z])+"

_CUT_IN_TWO = frozenset(["cannot", "gonna", "gotta", "lemme", "gimme", "wanna"])
"""Words whose first three letters are a token of their own."""
_WITH_APOSTROPHE = (
    "'n'|[ldj]'|dunkin'|somethin'|ol'|'em|'till?|'cause|'[2-9]0s|c'mon|nor'easter|s'mores|ev'ry|li'l|nat'l|e'er|o'o"
).replace("'", _APOSTROPHE)

# Abbreviations keep their full stop.
_ABBREVIATIONS = (
    r"(?:ph|ed)\.d|adj|adm|adv|al|ala|alex|apr|ariz|assn|assoc|asst|attys?|aug|ave|bancorp|bhd|bldg|blvd|brig|bros|calif"
    "|capt|cf|cie|cmdr|co|col|colo|comdr|conn|corp|cos|cpl|ct|dak|dec|dept|det|drs?|elec|ens|esq|est|etc|ext|feb|fla"
    "|fri|ft|ga|gen|govs?|hon|inc|ind|insp|intl|invt|jan|jos|jr|jul|jun|kans?|ky|lieut|lt|ltd|maj|mar|md|messrs|mich"
    "|minn|mlle|mme|mo|mon|mont|mrs?|ms|msgr|mt|natl|neb|nev|nov|oct|okla|penn|pfc|ph|plc|pres|profs?|pvt|rd|reps?|rev"
    "|rt|sens?|sept?|seq|sfc|sgt|spc|sq|sr|ste?|supts?|sys|tel|tenn|thu|thurs|treas|tues?|univ|va|vs|vt|wed|wisc?|wm|wyo"
)
# These do with a capital or in capitals, for in small letters they are words;
_WITH_A_CAPITAL = "Ark|Az|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash"
# these in small letters or with a capital;
_NOT_IN_CAPITALS = "[Mm][ft]g|[Pp]p?t[ey]s?"
# these before a number.
_BEFORE_NUMBERS = "art|ca|figs?|nos?|op|pp|prop"
# After a single letter these words begin a sentence. Before others the letter is an initial, and keeps its full stop.
_BEGINNINGS = (
    r"A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Mr\.|Ms\."
    "|Now|Once|One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|What|When|While|Yet|You"
)
_FILE_ENDINGS = (
    "3gp|bat|bmp|c|cgi|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp[34]|pdf|php|pl|png|ppt|ps|py|sql|tar|txt"
    "|wav|x|xml|zip"
)

_IS_SYMBOL = re.compile(
    "[!-~\u00a1\u00a5-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bf\u00d7\u00f7\u037e\u0387\u0589\u05be\u060c\u061b\u061f"
    "\u066a\u06d4\u0964\u0965\u0e3f\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u2070"
    "\u2074-\u207e\u2080-\u208e\u20a4\u2100\u2101\u2103-\u2106\u2108\u2109\u2114\u2116-\u2118\u211e-\u2123\u2125\u2127"
    "\u2129\u212e\u213a\u213b\u2140-\u2144\u214a-\u214d\u214f\u2155-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb"
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0\uffe1\uffe5\uffe6]"
)
_REWRITTEN = {
    "\u2026": "...",
    "\u00a3": "#",
    "\u00a2": "cents",
    **dict.fromkeys("\u00a4\u20a0\u20ac\u0080", "$"),
    **dict.fromkeys('"\u201c\u201d\u00ab\u00bb\u0093\u0094', "''"),
    **dict.fromkeys("\u2018\u2019\u201b\u2039\u203a\u0091\u0092", "'"),
    **dict.fromkeys("\u2013\u2014\u2015\u0096\u0097", "--"),
    **dict(zip("()[]{}", ("-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"), strict=True)),
    **dict(zip("\u00bd\u00bc\u00be\u2153\u2154", ("1/2", "1/4", "3/4", "1/3", "2/3"), strict=True)),
}
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": "", "&apos;": "", "&nbsp;": ""}


def _without_soft_hyphens(cut: str) -> str:
    return cut.replace("\u00ad", "")


def _in_two(cut: str) -> str:
    return f"{cut[:3]} {cut[3:]}"


def _in_one(cut: str) -> str:
    return cut.replace("(", "-lrb-").replace(")", "-rrb-").replace(" ", HARD_SPACE)


def _with_plain_apostrophe(cut: str) -> str:
    return cut.replace("\u2019", "'").replace("\u0092", "'")


def _entity(cut: str) -> str:
    return _ENTITIES.get(cut.lower(), cut)


def _one_sign(cut: str) -> str:
    """Write one character that no rule takes: what the original knows no name for, it drops."""
    is_known = _IS_SYMBOL.match(cut) or (cut.isalnum() and cut < "\U00010000")
    return _REWRITTEN.get(cut, cut if is_known else "")


def _rule(pattern: str, rewrite: Rewrite = _without_soft_hyphens, *, before: str = "", cased: bool = False) -> _Rule:
    return _Rule(re.compile(f"({pattern}){before}", re.NOFLAG if cased else re.IGNORECASE), rewrite)


# Most of a caption: a word of ASCII letters before a space, a comma or the end. It is here for speed alone.
_PLAIN = re.compile(r"([A-Za-z]+)(?=,? |,?$)")
_END = "(?: |$)"
_RULES = (
    # words that are cut, and what is cut off: gon|na, 't|is, ca|n't, dog|'s
    _rule("|".join(sorted(_CUT_IN_TWO)), _in_two),
    _rule("'t(?:is|was)", lambda cut: f"'t {cut[2:]}"),
    _rule("[a-z]*[a-mo-z]", before=f"n{_QUOTE}t"),
    _rule(f"n{_QUOTE}t", _with_plain_apostrophe),
    _rule("'(?:[msd]|re|ve|ll)", before="(?:[^a-z]|$)"),
    _rule("[\u2019\u0092](?:[msd]|re|ve|ll)", _with_plain_apostrophe),
    # words: dog, a.b, x-ray, o'clock, u.s.-based, and/or, R&B
    _rule(_WORD),
    _rule(_HYPHENED),
    _rule(rf"[a-z0-9][a-z0-9.,]*(?:-(?:{_INITIALS}\.|[a-z0-9]+))+"),
    _rule(r"[a-z0-9]+(?:-[a-z]+){0,2}(?:\\?/[a-z0-9]+(?:-[a-z]+){0,2}){1,2}"),
    _rule("[A-Z]+(?:(?:&|&amp;|[+])[A-Z]+)+", lambda cut: cut.replace("&amp;", "&"), cased=True),
    _rule(r"[cf]#|c\+\+"),
    # words with an apostrophe of their own: 'em, '90s, y'|all, Hawai'i, M'Bow
    _rule(_WITH_APOSTROPHE),
    _rule(rf"{_APOSTROPHE}(?:\d\d|n)", before=_END),
    _rule("[\u2019\u0092]n"),
    _rule(f"y{_APOSTROPHE}", before="[a-z]"),
    _rule(f"{_LETTER}+[aeiouyAEIOUY]{_APOSTROPHE}[aeiouA-Z]{_LETTER}*", cased=True),
    _rule(f"[A-HJ-XZn]{_APOSTROPHE}{_LETTER}{{2,}}", cased=True),
    # abbreviations: e.g., Mr., no. 5, and any word before a full stop and a comma
    _rule(rf"{_INITIALS}\.|[a-z]\.|(?:{_ABBREVIATIONS})\."),
    _rule("[A-Za-z]", before=rf"\. (?:{_BEGINNINGS}){_END}", cased=True),
    _rule(rf"(?:{_WITH_A_CAPITAL}|{_WITH_A_CAPITAL.upper()}|{_NOT_IN_CAPITALS})\.", cased=True),
    _rule(rf"(?:{_BEFORE_NUMBERS})\.", before=r" ?\d"),
    _rule(rf"(?:{_WORD}|{_HYPHENED})\.", before="[,;:]"),
    # numbers: 1,000, -5, 1 1/2, 5/6/2010, 555 123 4567, US$
    _rule(rf"[-+]?{_NUMBER}"),
    _rule(r"(?:\d{1,4}[- \u00a0])?\d{1,4}\\?/\d{1,4}", _in_one),
    _rule(r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}"),
    _rule(
        r"(?:\(\d{2,3}\)[ -]?|(?:\+\+?)?(?:\d{2,4}[- ])?\d{2,4}[- ])\d{3,4}[- ]?\d{3,5}",
        _in_one,
    ),
    _rule(r"[A-Z]+\$", cased=True),
    # names: 2.jpg, addresses, @somebody, #something
    _rule(rf"{_SIGN}+\.(?:{_FILE_ENDINGS})", before=r"""(?:[ .?!,"'<]|$)"""),
    _rule(r"https?://[^\s\"<>|(){}]+[^\s\"<>|.!?(){},-]"),
    _rule(
        r"(?:www\.(?:[^\s\"<>|.!?(){},]+\.)+[a-z]{2,4}|(?:[^\s\"`'<>|.!?(){},\-_$]+\.)+(?:com|net|org|edu))"
        r"(?:/[^\s\"<>|()]+[^\s\"<>|.!?(){},-])?",
        before="(?:[^a-z0-9]|$)",
    ),
    _rule(r"[a-z0-9][^\s\"<>|()]*@(?:[^\s\"<>|().]+\.)*[^\s\"<>|().]+"),
    _rule(r"@[a-z_]\w*"),
    _rule(f"#{_LETTER}+"),
    # markup and smileys
    _rule(r"""</?[a-z][\w.:-]*(?: +[a-z][\w.:-]*(?: *= *(?:"[^"]*"|'[^']*'))?)* */?>|<[!?][a-z-][^>]*>""", _in_one),
    _rule(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d+);", _entity),
    _rule(r"[<>]?[:;=]['-]?[(DPdpO\\{@|\[\])]", _in_one, before="(?:[^A-Za-z]|$)", cased=True),
    _rule(r"\([-^x=~<>'][_.]?[-^x=~<>']\)|[-^x=~<>']_[-^x=~<>']", _in_one),
    # signs that stand in rows
    _rule("[?!]+|_+|[*]+|#+|@+|<<|>>|-{5,}"),
    _rule("-{2,4}", lambda _: "--"),
    _rule("''|``|[.]{3,5}|[.](?: [.]){2,4}", lambda _: ""),
)
