"""The language of texts."""

import threading

import pytest

from jbackupd.model.texts import _, in_language, language, language_of, set_language


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LC_ALL": "C", "LANG": "ja_JP.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "ja_JP", "LANG": "C"}, "ja"),
    ],
)
def test_the_locale_decides_by_posix_precedence(environment, expected):
    assert language_of(environment) == expected


def test_a_piece_of_work_speaks_its_own_language_and_others_do_not_hear_it():
    heard: list[str] = []
    with in_language("ja"):
        other = threading.Thread(target=lambda: heard.append(language()))
        other.start()
        other.join()
        assert language() == "ja"
        assert _("interrupted") != "interrupted"
    assert (heard, language(), _("interrupted")) == (["en"], "en", "interrupted")


def test_a_text_without_translation_stays_english_and_the_empty_text_stays_empty():
    with in_language("ja"):
        assert (_("no such text"), _("")) == ("no such text", "")


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="fr"):
        set_language("fr")
