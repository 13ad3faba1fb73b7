"""What the search takes for the words of a text."""

import pytest

from messaging.words import MAX_LENGTH, MAX_WORDS, find_highlights, index_words, parse_query


def words_of(text: str) -> set[str]:
    return {word for word in index_words(text, room=1, public=True).split() if not word.startswith("#")}


def finds(query: str, text: str) -> bool:
    """As PostgreSQL would: every word, and prefixes."""
    words = words_of(text)
    wanted = [part.removesuffix(":*") for part in parse_query(query).tsquery().split(" & ")]
    prefixes = [part for part in parse_query(query).tsquery().split(" & ") if part.endswith(":*")]
    exact = {word.strip("'") for word in wanted} - {prefix[1:-3] for prefix in prefixes}
    return exact <= words and all(any(word.startswith(prefix[1:-3]) for word in words) for prefix in prefixes)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("hello", "Hello, world!"),
        ("WORLD hello", "hello world"),
        ("strasse", "Straße"),
        ("café", "CAFÉ"),
        ("café", "cafe\u0301"),
        ("full", "\uff26\uff35\uff2c\uff2c"),
        ("東京", "昨日東京へ行った"),
        ("京", "東京"),
        ("東", "東京"),
        ("タワー", "東京タワー"),
        ("ﾀﾜｰ", "東京タワー"),
        ("회의", "오늘 회의는 세 시입니다"),
        ("สวัสดี", "สวัสดีครับ"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("привет", "ПРИВЕТ, мир"),
        ("v2 release", "Release v2.1 東京"),
        ("kafka", "kafka東京"),
    ],
)  # fmt: skip
def test_a_query_finds_a_text(query: str, text: str):
    """Case and compatibility forms do not matter, and scripts without spaces are found by any part."""
    assert finds(query, text)
    assert find_highlights(text, parse_query(query))


@pytest.mark.parametrize(
    ("query", "text"),
    [("hell", "hello"), ("cafe", "café"), ("hello moon", "hello world"), ("京東", "東京"), ("x", "東京")],
)
def test_a_query_does_not_find_another_text(query: str, text: str):
    """Words are whole, accents make other words, and all words must be there."""
    assert not finds(query, text)


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("Hello hello world", "hello", ["Hello", "hello"]),
        ("😀 東京タワー", "京タ ワー", ["京タワー"]),
        ("<b>bold</b>", "b", ["b", "b"]),
        ("GROSSE Straße", "große", ["GROSSE"]),
        ("nothing here", "word", []),
    ],
)
def test_highlights_are_places_in_the_text_as_it_was_said(text: str, query: str, marked: list[str]):
    """In code points; what touches is one."""
    assert [text[start:end] for start, end in find_highlights(text, parse_query(query))] == marked


@pytest.mark.parametrize("text", ["'; DROP TABLE x; --", "a & b | !c <-> d:*", "\\ \\' ''", "a\0b", "( ) : * ' \\"])
def test_signs_mean_nothing_in_a_query(text: str):
    """Words hold letters, digits and marks only."""
    query = parse_query(text)
    assert all(word.isalnum() for word in query.words)
    assert not set("|!<>()\\") & set(query.tsquery())


def test_what_is_too_long_is_cut():
    """PostgreSQL takes words of at most 2,046 bytes, and a query has an end."""
    assert words_of("x" * 4000) == {"x" * MAX_LENGTH}
    assert finds("x" * 3000, "x" * 3000)
    assert len(parse_query(" ".join(f"word{n}" for n in range(100))).words) == MAX_WORDS
    assert index_words("😀 … !", room=1, public=True) == ""


def test_the_place_of_a_message_stands_among_its_words():
    """So that the index leaves out what one may not read."""
    assert set(index_words("Hello #12", room=7, public=False).split()) == {"hello", "12", "#7"}
    assert set(index_words("Hello", room=7, public=True).split()) == {"hello", "#7", "#"}
    assert parse_query("hello #").tsquery(["#", "#7"]) == "'hello' & ('#' | '#7')"
