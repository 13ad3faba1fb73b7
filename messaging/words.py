"""The words of a text as the search knows them.

Case and compatibility forms (letters of full width, ligatures) are folded, by Unicode's NFKC and case folding; accents
are kept, since they make other words in many languages. Scripts that are written without spaces, and Hangul, whose
words carry endings, are cut into overlapping pairs of characters, so that any part of them is found.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_LENGTH = 100  # characters of a word; what is longer is known by its beginning
MAX_WORDS = 20  # in a query
MAX_HIGHLIGHTS = 100
# Stands among the words of messages of public rooms; no word that people write holds this sign.
PUBLIC = "#"

# Thai and Lao, Burmese, Khmer, kana, Han, Hangul.
SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowels and tones of many scripts are marks, which `\w` leaves out.
MARKS = "".join(sign for sign in map(chr, range(0x20000)) if unicodedata.category(sign)[0] == "M")
# `\w` first: to look a character up among the marks takes much longer.
RUN = re.compile(rf"\w+(?:[{MARKS}]+\w*)*")
ASCII_RUN = re.compile(r"\w+", re.ASCII)
PART = re.compile(f"[{SPACELESS}]+|[^{SPACELESS}]+")
IS_SPACELESS = re.compile(f"[{SPACELESS}]+")
PAIR = re.compile(f"(?=([{SPACELESS}]{{2}}))")
LAST = re.compile(f"[{SPACELESS}](?![{SPACELESS}])")


class Query(NamedTuple):
    """What somebody looks for: all the `words`, and each of the `phrases`, which are in scripts without spaces."""

    words: frozenset[str]
    phrases: frozenset[str]

    def tsquery(self, places: Iterable[str] = ()) -> str:
        """For PostgreSQL, in any of these places. Neither words nor phrases hold a sign that means something there."""
        wanted = [f"'{word}'" for word in self.words]
        for phrase in self.phrases:
            wanted += [f"'{pair}'" for pair in _pairs(phrase)] if len(phrase) > 1 else [f"'{phrase}':*"]
        anywhere = " | ".join(f"'{place}'" for place in places)
        return " & ".join([*sorted(wanted), *([f"({anywhere})"] if anywhere else [])])

    @property
    def uncertain(self) -> list[str]:
        """The phrases whose pairs may also stand apart from each other."""
        return [phrase for phrase in self.phrases if len(phrase) > 2]


def place_of(room: int) -> str:
    return f"#{room}"


def index_words(text: str, *, room: int, public: bool) -> str:
    """The words of a message and its place, as PostgreSQL reads them as a `tsvector`. Without the place, a word that is
    frequent in rooms that one may not read would be collected before it is dropped."""
    folded = _fold(text)
    words: set[str] = set()
    if not folded.isascii() and IS_SPACELESS.search(folded):
        # The last characters alone, so that one which stands last is found as well.
        words.update(PAIR.findall(folded), LAST.findall(folded))
        folded = IS_SPACELESS.sub(" ", folded)
    words.update(word[:MAX_LENGTH] for word in (ASCII_RUN if folded.isascii() else RUN).findall(folded))
    if words:
        words.update([place_of(room), PUBLIC] if public else [place_of(room)])
    return " ".join(words)


def parse_query(text: str) -> Query:
    """The words of what somebody typed, at most so many."""
    parts = list(dict.fromkeys(_parts(_fold(text))))[:MAX_WORDS]
    phrases = frozenset(part[:MAX_LENGTH] for part in parts if IS_SPACELESS.match(part))
    return Query(frozenset(part[:MAX_LENGTH] for part in parts) - phrases, phrases)


def find_highlights(text: str, query: Query) -> list[tuple[int, int]]:
    """Where in a text the words of a query stand: from and to, in Unicode code points; in order, and not within each
    other."""
    spans: list[tuple[int, int]] = []
    for run in RUN.finditer(text):
        for part in PART.finditer(run.group()):
            start = run.start() + part.start()
            for first, last in _matches(part.group(), query):
                if spans and start + first <= spans[-1][1]:
                    spans[-1] = spans[-1][0], max(spans[-1][1], start + last)
                else:
                    spans.append((start + first, start + last))
            if len(spans) >= MAX_HIGHLIGHTS:
                return spans
    return spans


def _matches(part: str, query: Query) -> Iterable[tuple[int, int]]:
    """The places within a part of a text, in order."""
    folded = _fold(part)
    if not IS_SPACELESS.match(part):
        return [(0, len(part))] if folded[:MAX_LENGTH] in query.words else []
    if len(folded) != len(part):
        return [(0, len(part))] if any(phrase in folded for phrase in query.phrases) else []
    return sorted(
        (found.start(), found.end()) for phrase in query.phrases for found in re.finditer(re.escape(phrase), folded)
    )


def _fold(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _parts(folded: str) -> Iterator[str]:
    """Runs of letters and digits, cut where a script without spaces begins or ends."""
    if folded.isascii():
        yield from ASCII_RUN.findall(folded)
        return
    for run in RUN.findall(folded):
        if run.isascii() or not IS_SPACELESS.search(run):
            yield run
        else:
            yield from PART.findall(run)


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]
