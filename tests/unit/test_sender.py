"""Whose word counts: the principal's, never the body's."""

from __future__ import annotations

import pytest

from infra.message import compose_message, parse_message
from policy.errors import Refused
from policy.names import EmailAddress
from policy.sender import Sender, asker, sender_of

ANN = EmailAddress("ann@lakeside.example.org")
BEN = EmailAddress("ben@harbor.example.org")
SENDERS = {
    "AIDAANN": Sender(contact=ANN),
    "AROAPORTAL": Sender(contact=None, speaks_for_others=True),
    "AROAREPORTS": Sender(contact=None),
}


@pytest.mark.parametrize(
    ("principal", "claimed", "asked_by"),
    [
        ("AIDAANN", None, ANN),
        ("AIDAANN", ANN, ANN),
        ("AROAPORTAL:web-1", ANN, ANN),
        ("AROAPORTAL:web-2", BEN, BEN),
        ("AROAPORTAL", BEN, BEN),
        ("AIDAANN", BEN, None),
        ("AROAPORTAL:web-1", None, None),
        ("AROAREPORTS:x", ANN, None),
        ("AROAREPORTS:x", None, None),
        ("AIDAEVE", ANN, None),
        ("AIDAEVE:AROAPORTAL", ANN, None),
        ("", ANN, None),
        ("aidaann", ANN, None),
    ],
)
def test_only_an_entitled_sender_speaks_for_somebody(
    principal: str, claimed: EmailAddress | None, asked_by: EmailAddress | None
) -> None:
    body = compose_message(customer="lakeside", site="sandbox", refresh=True, on_behalf_of=claimed)
    wish = parse_message(body)
    if asked_by is None:
        with pytest.raises(Refused):
            asker(sender_of(principal, SENDERS), wish)
    else:
        assert asker(sender_of(principal, SENDERS), wish) == asked_by
