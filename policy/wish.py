"""A wish: what a message, a command or a form asks for, before anybody decided whether it may.

Invariant: a wish is well-formed, and nothing more: that the customer exists, that the time is not past and
that the asker may ask are decisions about it. `on_behalf_of` is a claim of the sender; `policy.sender`
decides whether it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from policy.names import CustomerName, EmailAddress, SiteId, Version
from policy.request import Kind


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One well-formed update request that nobody has judged yet.

    Attributes:
        version: the release wanted; None means a database refresh only.
        refresh: the site's database is to be copied from Production.
        at: the preferred time: naive local time of `zone`, or aware (then `zone` is None), or None for as
            soon as it fits.
        zone: the zone in which `at` was meant; may also come without `at`.
        on_behalf_of: for whom the sender says to speak, or None for the sender itself.
        message_digest: identifies the message's content; None for a wish that came without a message. The
            ledger holds one request for each digest.
        note: the asker's own words, printable text and line ends.
    """

    site: SiteId
    version: Version | None
    refresh: bool
    at: datetime | None = None
    zone: ZoneInfo | None = None
    on_behalf_of: EmailAddress | None = None
    message_digest: str | None = None
    note: str = ""

    @property
    def customer(self) -> CustomerName:
        """Whose site it is."""
        return self.site.customer

    @property
    def kind(self) -> Kind:
        """An upgrade when a version is wanted, with or without a refresh; else a refresh."""
        return Kind.REFRESH if self.version is None else Kind.UPGRADE
