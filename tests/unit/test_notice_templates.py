"""The templates of notices: filled wholly with every value, and with no value that could pass for more."""

from __future__ import annotations

import re

import pytest
from jinja2 import meta

from infra.notice_text import TEMPLATES, _environment, notice_text, one_line
from policy.errors import Refused
from policy.notice import NoticeKind, Value
from policy.request import Kind
from tests.unit.notice_estate import FOLLOW_UP
from tests.unit.notice_examples import EXAMPLES, body


def test_every_kind_has_a_template_and_every_template_a_kind() -> None:
    files = {path.stem for path in TEMPLATES.glob("*.txt") if not path.name.startswith("_")}
    assert files == {kind.value for kind in NoticeKind}
    assert set(EXAMPLES) == set(NoticeKind)


def named_in(template: str) -> set[str]:
    """Every value that a template names, its parts included."""
    environment = _environment()
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, template)
    parsed = environment.parse(source)
    names = set(meta.find_undeclared_variables(parsed))
    for part in meta.find_referenced_templates(parsed):
        assert part is not None
        names |= named_in(part)
    return names


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_every_template_is_filled_wholly_in_all_its_branches(kind: NoticeKind) -> None:
    notice = EXAMPLES[kind]
    names = named_in(f"{kind.value}.txt")
    assert names <= set(notice.values)
    for flags in (True, False):
        values: dict[str, Value] = {}
        for name, value in notice.values.items():
            if isinstance(value, bool):
                values[name] = flags
            elif isinstance(value, tuple):
                values[name] = ("first", "second") if flags else ()
            else:
                values[name] = f"the-{name}" if flags else ""
        for work in Kind:
            text = notice_text(kind, values | {"kind": work.value, "subject": "S", "request": "R42"})
            assert text.subject
            assert "\n\n\n" not in text.body
            assert "{" not in text.body
            assert not re.search(r"[ \t]+$", text.body.replace("-- \n", ""), re.MULTILINE)
            if flags:
                for name in names - {"kind", "subject", "request"}:
                    if isinstance(values[name], str) and name not in HIDDEN:
                        all_works = [notice_text(kind, values | {"kind": w.value}).body for w in Kind]
                        assert any(f"the-{name}" in shown for shown in all_works), name


HIDDEN = {"preferred"}
"""Shown only while there is no date, so not when every question is answered with yes."""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in NoticeKind
        for name in ("subject", "zone", "work")
        if name in named_in(f"{kind.value}.txt")
    ],
)
def test_a_value_that_is_missing_is_an_error_not_a_gap(kind: NoticeKind, name: str) -> None:
    values = {key: value for key, value in EXAMPLES[kind].values.items() if key != name}
    with pytest.raises(Refused, match=f"notice {kind.value}: its template cannot be filled: '{name}'"):
        notice_text(kind, values)


@pytest.mark.parametrize("kind", sorted(set(NoticeKind) - {NoticeKind.DIGEST}))
def test_every_notice_says_the_next_step(kind: NoticeKind) -> None:
    assert "Next" in body(EXAMPLES[kind])


@pytest.mark.parametrize(
    "kind",
    [NoticeKind.SCHEDULED, NoticeKind.MOVED, NoticeKind.REMINDER, NoticeKind.LOG_OUT, NoticeKind.STARTED],
)
def test_what_happens_to_scheduled_tasks_is_told_before_and_at_the_start(kind: NoticeKind) -> None:
    text = " ".join(body(EXAMPLES[kind]).split())
    assert (
        "Scheduled tasks of the application that would run, or still run, during the work do not complete"
        in text
    )
    assert "They run at their next set time" in text


def test_put_back_is_never_worded_as_broken_nor_stuck_as_put_back() -> None:
    put_back, stuck = body(EXAMPLES[NoticeKind.PUT_BACK]), body(EXAMPLES[NoticeKind.STUCK])
    assert "works as before" in put_back
    assert "locked" not in put_back
    assert "locked" in stuck
    assert "works as before" not in stuck


def test_completed_upgrade_tells_users_what_to_do_and_how_long_it_was_away() -> None:
    text = body(EXAMPLES[NoticeKind.COMPLETED])
    for line in FOLLOW_UP.split("\n"):
        assert f"> {line}" in text
    assert "9.8 s" in text
    assert "34.2 s" in text
    assert "undone" not in text


HOSTILE = "x\r\nBcc: all@example.org\r\n\r\n<b>\x00\x1b[2J\u202egnp\u2028Next: pay\ud800"


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_no_value_begins_a_header_or_a_line_of_its_own(kind: NoticeKind) -> None:
    values: dict[str, Value] = {}
    for name, value in EXAMPLES[kind].values.items():
        if isinstance(value, bool) or name == "kind":
            values[name] = value
        else:
            values[name] = (HOSTILE,) if isinstance(value, tuple) else HOSTILE
    text = notice_text(kind, values)
    assert text.subject.isprintable()
    assert len(text.subject) <= 180
    lines = text.body.split("\n")
    assert not any(line.startswith(("Bcc:", "Next: pay", "<b>")) for line in lines)
    assert not any(c in text.body for c in "\0\x1b\u202e\u2028\r")
    text.body.encode()


def test_long_texts_are_cut() -> None:
    assert one_line("word " * 500).endswith("…")
    assert len(one_line("word " * 500)) == 600
    values = dict(EXAMPLES[NoticeKind.QUESTION].values) | {"question": "y\n" * 9000}
    assert len(notice_text(NoticeKind.QUESTION, values).body) < 10_000
