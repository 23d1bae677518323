"""Who asks: the authenticated sender of a message decides, never a field of its body.

Invariant: the address that a request is written under belongs to the sender itself, or to somebody for whom
this sender is allowed to speak. An unknown sender is nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policy.errors import Refused
from policy.names import EmailAddress
from policy.wish import Wish


@dataclass(frozen=True, kw_only=True)
class Sender:
    """What an authenticated principal of the queue may say.

    Attributes:
        contact: the person whose principal it is, or None for a program.
        speaks_for_others: a portal or ticket system that authenticates people itself, and whose word about
            them is taken.
    """

    contact: EmailAddress | None
    speaks_for_others: bool = False


def sender_of(principal: str, senders: Mapping[str, Sender]) -> Sender:
    """The sender behind `principal`.

    Args:
        principal: the queue's `SenderId`; of an assumed role it is `<role id>:<session name>`, and the
            session's name is chosen by whoever assumes the role, so that only the role id counts.
        senders: the known ones, by user id or role id.

    Raises:
        Refused: the principal is not known.
    """
    known = senders.get(principal.partition(":")[0])
    if known is None:
        raise Refused("sender: its principal is not known here; an engineer adds it to FRESHET_SENDERS")
    return known


def asker(sender: Sender, wish: Wish) -> EmailAddress:
    """The address under which `wish` of `sender` is judged.

    Raises:
        Refused: the message speaks for somebody for whom this sender may not speak, or for nobody.
    """
    if wish.on_behalf_of is None:
        if sender.contact is None:
            raise Refused("as: the sender is a program; name the contact for whom it asks")
        return sender.contact
    if wish.on_behalf_of != sender.contact and not sender.speaks_for_others:
        raise Refused("as: this sender may speak for itself only; leave `as` out")
    return wish.on_behalf_of
