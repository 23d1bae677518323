"""The calendar entry, read back by a parser of its own that knows RFC 5545's rules of form."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.calendar_invite import OCTETS, icalendar
from policy.names import EmailAddress
from policy.notice import Invite

ORGANIZER = EmailAddress("updates@hosting.example.org")
ANN = EmailAddress("ann@lakeside.example.org")
INVITE = Invite(
    uid="demo.R42.20261120T093015Z",
    sequence=317,
    cancelled=False,
    start=datetime(2026, 11, 22, 8, 0, tzinfo=UTC),
    end=datetime(2026, 11, 22, 8, 30, tzinfo=UTC),
    stamp=datetime(2026, 11, 21, 20, 0, tzinfo=UTC),
    summary="Sandbox of Lakeside Schools: database refresh",
    description="Update request R42.",
    location="https://lakeside.example.org",
)
ONCE = ("UID", "SEQUENCE", "DTSTAMP", "DTSTART", "DTEND", "SUMMARY", "STATUS", "ORGANIZER", "ATTENDEE")


def parse(text: str) -> dict[str, str]:
    """The event's properties; every rule of form that a calendar may insist on is checked on the way."""
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    assert "\r" not in text.replace("\r\n", "")
    physical = text.removesuffix("\r\n").split("\r\n")
    assert all(len(line.encode()) <= OCTETS for line in physical)
    logical: list[str] = []
    for line in physical:
        if line.startswith(" "):
            logical[-1] += line[1:]
        else:
            logical.append(line)
    assert logical[:2] == ["BEGIN:VCALENDAR", "VERSION:2.0"]
    assert logical[-1] == "END:VCALENDAR"
    assert logical.count("BEGIN:VEVENT") == logical.count("END:VEVENT") == 1
    begin, end = logical.index("BEGIN:VEVENT"), logical.index("END:VEVENT")
    assert begin < end == len(logical) - 2
    found: dict[str, str] = {}
    for line in logical:
        match = re.fullmatch(r"([A-Z-]+)((?:;[A-Z-]+=[^:;,\"]+)*):(.*)", line)
        assert match is not None, line
        name, _, value = match.groups()
        if name not in {"BEGIN", "END"}:
            assert name not in found, f"{name} stands twice"
            found[name] = value
    assert set(ONCE) <= set(found)
    return found


def text_of(value: str) -> str:
    """A text value without its escapes; a bare separator would be an error."""
    assert not re.search(r"(?<!\\)(?:\\\\)*[;,]", value)
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] in "nN" else match[1], value)


def instant_of(value: str) -> datetime:
    assert re.fullmatch(r"\d{8}T\d{6}Z", value)
    return datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def test_a_date_is_a_request_that_calendars_take() -> None:
    found = parse(icalendar(INVITE, organizer=ORGANIZER, attendee=ANN))
    assert found["METHOD"] == "REQUEST"
    assert found["STATUS"] == "CONFIRMED"
    assert found["UID"] == "demo.R42.20261120T093015Z@hosting.example.org"
    assert found["SEQUENCE"] == "317"
    assert found["ORGANIZER"] == "mailto:updates@hosting.example.org"
    assert found["ATTENDEE"] == "mailto:ann@lakeside.example.org"
    assert found["TRANSP"] == "TRANSPARENT"
    assert instant_of(found["DTSTART"]) == INVITE.start
    assert instant_of(found["DTEND"]) == INVITE.end
    assert instant_of(found["DTSTAMP"]) == INVITE.stamp


def test_a_cancellation_has_the_same_uid() -> None:
    gone = replace(INVITE, cancelled=True, sequence=318)
    found = parse(icalendar(gone, organizer=ORGANIZER, attendee=ANN))
    assert (found["METHOD"], found["STATUS"]) == ("CANCEL", "CANCELLED")
    before = parse(icalendar(INVITE, organizer=ORGANIZER, attendee=ANN))
    assert found["UID"] == before["UID"]
    assert int(found["SEQUENCE"]) > int(before["SEQUENCE"])


@pytest.mark.parametrize(
    ("zone", "local", "length", "shown"),
    [
        # Clocks go back at 02:00 CDT: 01:30 comes twice, and two hours later it is 02:30 CST.
        ("America/Chicago", (2026, 11, 1, 1, 30), 2, ["01:30 CDT", "02:30 CST"]),
        # Clocks go forward at 02:00 CET: an hour that begins at 01:30 ends at 03:30.
        ("Europe/Berlin", (2026, 3, 29, 1, 30), 1, ["01:30 CET", "03:30 CEST"]),
        ("Australia/Lord_Howe", (2026, 4, 5, 1, 0), 2, ["01:00 +11", "02:30 +1030"]),
    ],
)
def test_times_are_right_in_local_zones_across_a_change_of_the_clocks(
    zone: str, local: tuple[int, int, int, int, int], length: int, shown: list[str]
) -> None:
    place = ZoneInfo(zone)
    start = datetime(*local, tzinfo=place)
    invite = replace(INVITE, start=start, end=start.astimezone(UTC) + timedelta(hours=length))
    found = parse(icalendar(invite, organizer=ORGANIZER, attendee=ANN))
    local_times = [
        instant_of(found[name]).astimezone(place).strftime("%H:%M %Z") for name in ("DTSTART", "DTEND")
    ]
    assert local_times == shown


@settings(deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_stays_inside_its_property(summary: str, location: str) -> None:
    invite = replace(INVITE, summary=summary, location=location)
    found = parse(icalendar(invite, organizer=ORGANIZER, attendee=ANN))
    kept = "".join(c for c in summary if c.isprintable() or c == "\n")
    assert text_of(found["SUMMARY"]) == kept


def test_long_lines_fold_between_characters_and_unfold_to_the_same() -> None:
    long = "Ärzte; Straße, 漢字 🙂 \\ " * 40
    found = parse(icalendar(replace(INVITE, description=long), organizer=ORGANIZER, attendee=ANN))
    assert text_of(found["DESCRIPTION"]) == long
