"""A notice as an e-mail: threads, ids, zones, and headers that nobody else can write."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from infra.ledger.outbox import OutboxEntry
from infra.mail import recipient_of
from infra.notice_mail import compose, read_notice
from policy.errors import Refused
from policy.lifecycle import Event
from policy.names import EmailAddress
from policy.notice import Notice
from policy.notices import Change, notices_for
from policy.request import Status
from tests.unit.notice_estate import ANN, NOW, estate, request, upgrade
from tests.unit.test_calendar_invite import instant_of, parse

FROM = EmailAddress("updates@hosting.example.org")
CREATED = datetime(2026, 11, 21, 20, 0, 7, 123456, tzinfo=UTC)


def entry_of(notice: Notice) -> OutboxEntry:
    return OutboxEntry(
        id=1,
        channel=notice.channel.value,
        key=notice.key,
        payload=notice.payload(),
        attempts=1,
        created_at=CREATED,
    )


def scheduled(number: int = 7) -> Notice:
    before = request(status=Status.TO_BE_SCHEDULED, scheduled_for=None)
    change = Change(event=Event.SCHEDULE, number=number, at=NOW, before=before, after=request())
    (notice,) = notices_for(change, estate=estate())
    return notice


def sent(notice: Notice) -> EmailMessage:
    """The message as its receiver parses it."""
    raw = compose(entry_of(notice), mail_from=FROM).as_bytes()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert raw.isascii()
    return message_from_bytes(raw, policy=default)


def test_the_message_says_who_when_and_which_thread() -> None:
    notice = scheduled()
    message = sent(notice)
    assert message["From"] == "Hosting updates <updates@hosting.example.org>"
    assert message["To"] == "Ann <ann@lakeside.example.org>"
    assert message["Subject"] == "Sandbox of Lakeside Schools: database refresh (R42)"
    assert message["Message-ID"] == f"<{notice.key}@hosting.example.org>"
    assert message["References"] == message["In-Reply-To"] == f"<{notice.thread}@hosting.example.org>"
    assert message["Date"].datetime == CREATED.replace(microsecond=0)
    assert message["Auto-Submitted"] == "auto-generated"
    assert not message.defects
    body = message.get_body(("plain",))
    assert body is not None
    assert "Sunday 22 November 2026, 02:00 CST (America/Chicago)" in body.get_content()


def test_one_request_is_one_thread_and_each_mail_of_it_has_its_own_id() -> None:
    first, second = sent(scheduled(7)), sent(scheduled(8))
    assert first["References"] == second["References"]
    assert first["Subject"] == second["Subject"]
    assert first["Message-ID"] != second["Message-ID"]


def test_the_same_entry_is_the_same_message() -> None:
    def stable(message: EmailMessage) -> list[tuple[str, str]]:
        return [(name, value) for name, value in message.items() if name != "Content-Type"]

    assert stable(sent(scheduled())) == stable(sent(scheduled()))


def test_the_date_comes_as_an_alternative_and_as_a_file() -> None:
    message = sent(scheduled())
    types = [part.get_content_type() for part in message.walk()]
    assert types == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/calendar",
        "application/ics",
    ]
    calendar, file = list(message.walk())[3:]
    assert calendar["Content-Type"].params["method"] == "REQUEST"
    found = parse(calendar.get_content().replace("\r\n", "\n").replace("\n", "\r\n"))
    assert found == parse(file.get_content().decode())
    assert instant_of(found["DTSTART"]) == request().scheduled_for
    assert file.get_filename() == "demo-estate.R42.20261120T093015Z.ics"


def test_a_notice_without_a_date_is_one_plain_part() -> None:
    change = Change(event=None, number=3, at=NOW, before=None, after=request(scheduled_for=None))
    (notice,) = notices_for(change, estate=estate())
    assert sent(notice).get_content_type() == "text/plain"


@pytest.mark.parametrize(
    "hostile",
    [
        "x\r\nBcc: all@example.org",
        "x\nSubject: other",
        "x\r\n\r\nbody",
        "\x00\x1b]0;",
        "Ann\u2028Bcc: y",
        "\ud800",
    ],
)
def test_no_name_reason_or_subject_becomes_a_header(hostile: str) -> None:
    notice = scheduled()
    notice = replace(
        notice,
        name=hostile,
        values=dict(notice.values)
        | {"reason": hostile, "subject": hostile, "site": hostile, "sites": hostile},
    )
    message = sent(notice)
    assert message["Bcc"] is None
    assert len(message.get_all("Subject", [])) == 1
    assert recipient_of(message) == ANN
    assert not message.defects


@pytest.mark.parametrize(
    "address",
    [
        "a..b@example.org",
        ".a@example.org",
        "o'neil+x@example.org",
        "a%b@sub.example.org",
        "x" * 64 + "@example.org",
    ],
)
def test_every_address_of_an_estate_can_be_written_to(address: str) -> None:
    message = sent(replace(scheduled(), to=EmailAddress(address), name='Ann "A." Ärzte, MD'))
    assert recipient_of(message) == address
    assert message["To"].addresses[0].display_name == 'Ann "A." Ärzte, MD'


def test_foreign_letters_arrive_as_they_are() -> None:
    notice = scheduled()
    message = sent(
        replace(notice, values=dict(notice.values) | {"subject": "Grüße 漢字 🙂", "reason": "Año – ✓."})
    )
    assert message["Subject"] == "Grüße 漢字 🙂"
    body = message.get_body(("plain",))
    assert body is not None
    assert "Año – ✓." in body.get_content()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "nonsense"}, "kind"),
        ({"extra": 1}, "extra"),
        ({"to": None}, "to"),
        ({"values": {"x": {"y": 1}}}, "values.x"),
        ({"invite": {"uid": "x"}}, "invite.start"),
    ],
)
def test_an_entry_that_is_no_notice_is_refused_for_good(change: dict[str, object], field: str) -> None:
    entry = entry_of(scheduled())
    with pytest.raises(Refused, match=field):
        read_notice(replace(entry, payload=dict(entry.payload) | change))


def test_an_entry_with_a_forged_recipient_is_refused() -> None:
    entry = entry_of(scheduled())
    with pytest.raises(Refused, match="e-mail address"):
        compose(replace(entry, payload=dict(entry.payload) | {"to": "a@b.org\nBcc: c@d.org"}), mail_from=FROM)


def test_the_widest_keys_stay_whole_in_their_headers() -> None:
    (notice, *_) = notices_for(
        Change(event=None, number=2_000_000_000, at=NOW, before=None, after=upgrade()),
        estate=replace(estate(), name="A very long name of an estate, with umlauts äöü and more than usual"),
    )
    message = sent(notice)
    assert message["Message-ID"] == f"<{notice.key}@hosting.example.org>"
    assert message["References"] == f"<{notice.thread}@hosting.example.org>"
