"""Text from files, made fit to be shown."""

from __future__ import annotations

import unicodedata

import pytest

from onnxslim_snacs.errors import foreign, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;pwn\x07", "\\x1b]0;pwn\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\x7f", "a\\x0d\\x0ab\\x7f"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\ud800\U000e0041", "\\ud800\\U000e0041"),
        ("Größe 層 é", "Größe 層 é"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert foreign(text) == shown
    assert foreign(shown) == shown


def test_nothing_of_the_kinds_that_do_not_show_is_left() -> None:
    kinds = {"Cc", "Cf", "Zl", "Zp", "Cs"}
    unseen = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in kinds]
    left = [c for c in unseen if visible(c) == c]
    named = {unicodedata.name(c, "") for c in left}
    # marks that are drawn
    assert {name.split()[0] for name in named} <= {"ARABIC", "EGYPTIAN", "SHORTHAND", "KAITHI"}


def test_the_length_is_bounded() -> None:
    assert len(foreign("x" * 10**6)) == 300
    assert len(foreign("\x1b" * 10**6)) == 300
