"""A date as an iCalendar object (RFC 5545), so that it stands, moves and disappears in people's calendars.

Invariant: all objects of one request have the same UID and a growing SEQUENCE; times are in UTC, which every
calendar shows in its owner's zone, across changes of the clocks as well.
"""

from __future__ import annotations

from datetime import UTC, datetime

from policy.names import EmailAddress
from policy.notice import Invite

OCTETS = 75
"""The longest line that RFC 5545 allows, without its end."""


def icalendar(invite: Invite, *, organizer: EmailAddress, attendee: EmailAddress) -> str:
    """The object for `attendee`: a request, or the cancellation of an earlier one."""
    method, status = ("CANCEL", "CANCELLED") if invite.cancelled else ("REQUEST", "CONFIRMED")
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Freshet//Update requests//EN",
        "CALSCALE:GREGORIAN",
        f"METHOD:{method}",
        "BEGIN:VEVENT",
        f"UID:{_text(invite.uid)}@{organizer.partition('@')[2]}",
        f"SEQUENCE:{invite.sequence}",
        f"DTSTAMP:{_instant(invite.stamp)}",
        f"DTSTART:{_instant(invite.start)}",
        f"DTEND:{_instant(invite.end)}",
        f"SUMMARY:{_text(invite.summary)}",
        f"DESCRIPTION:{_text(invite.description)}",
        *([f"LOCATION:{_text(invite.location)}"] if invite.location else []),
        f"STATUS:{status}",
        # The work takes nobody's time: their calendar stays free for other things.
        "TRANSP:TRANSPARENT",
        f"ORGANIZER:mailto:{organizer}",
        f"ATTENDEE;ROLE=NON-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=FALSE:mailto:{attendee}",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return "".join(f"{_folded(line)}\r\n" for line in lines)


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    printable = "".join(c for c in value if c.isprintable() or c == "\n")
    return printable.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def _folded(line: str) -> str:
    """`line` in pieces of at most 75 octets, no character torn apart."""
    pieces: list[bytes] = [b""]
    for character in line:
        octets = character.encode()
        if len(pieces[-1]) + len(octets) > OCTETS:
            pieces.append(b" ")
        pieces[-1] += octets
    return b"\r\n".join(pieces).decode()
