"""The words of a notice that follow from the request: what is done, to which sites, and when.

Invariant: a person outside the hosting team understands each of them; every time is in the zone that was
asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from policy.estate import Estate, Site
from policy.local_time import duration_for_people, for_people
from policy.names import CustomerName, Environment, SiteId
from policy.notice import Value
from policy.request import Kind, Request

AS_SOON_AS_IT_FITS = "as soon as it fits"


def site_words(estate: Estate, site: SiteId) -> str:
    """One site: `Sandbox of Lakeside Schools`."""
    return f"{site.environment.value.title()} of {_title(estate, site.customer)}"


def sites_words(estate: Estate, request: Request) -> str:
    """Every site that the work touches: an upgrade touches all that share the web application."""
    if request.kind is not Kind.UPGRADE:
        return site_words(estate, request.site)
    words = [site.id.environment.value.title() for site in _served(estate, request.site)]
    if len(words) < 2:  # noqa: PLR2004 - more than one
        return site_words(estate, request.site)
    return f"{', '.join(words[:-1])} and {words[-1]} of {_title(estate, request.site.customer)}"


def work_words(request: Request) -> str:
    """What is done: `database refresh`, `upgrade to 26.5.0 with a database refresh`."""
    match request.kind:
        case Kind.REFRESH:
            return "database refresh"
        case Kind.UPGRADE:
            return f"upgrade to {request.version}{' with a database refresh' if request.refresh else ''}"
        case Kind.UNDO:
            return f"undo of the database refresh {request.undoes}"
        case Kind.ENGINE:
            return "upgrade of the database server"


def thread_of(estate: Estate, request: Request) -> str:
    """Names the request in message ids and calendars, also beside other estates and earlier ledgers."""
    asked = f"{request.asked_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return f"{estate_token(estate)}.{request.id}.{asked}"


def when_words(at: datetime | None, zone: ZoneInfo) -> str:
    """An instant in `zone`, or that there is none yet."""
    return AS_SOON_AS_IT_FITS if at is None else for_people(at, zone)


def length_words(length: timedelta | None) -> str:
    """A duration: seconds when it is short, else minutes; empty when it is not known."""
    if length is None:
        return ""
    seconds = length.total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else duration_for_people(length)  # noqa: PLR2004 - a minute


def request_values(estate: Estate, request: Request, zone: ZoneInfo) -> dict[str, Value]:
    """The values that every notice about a request has."""
    served = _served(estate, request.site)
    url = next((site.url for site in served if site.id == request.site), "")
    shares_production = request.site.environment is not Environment.PRODUCTION and any(
        site.id.environment is Environment.PRODUCTION for site in served
    )
    work, sites = work_words(request), sites_words(estate, request)
    return {
        "request": str(request.id),
        "subject": f"{sites}: {work} ({request.id})",
        "customer": _title(estate, request.site.customer),
        "site": site_words(estate, request.site),
        "sites": sites,
        "url": url,
        "work": work,
        "kind": request.kind.value,
        "refreshes": request.refresh or request.kind is Kind.REFRESH,
        "shares_production": shares_production,
        "asked_by": str(request.asked_by),
        "preferred": when_words(request.not_before, zone),
        "start": when_words(request.scheduled_for, zone),
        "has_start": request.scheduled_for is not None,
        "zone": zone.key,
        "reason": request.reason,
    }


def estate_token(estate: Estate) -> str:
    """The estate's name in the letters of a message id."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in estate.name.lower()) or "estate"


def _title(estate: Estate, customer: CustomerName) -> str:
    # A request outlives its customer's entry in the estate, and its end is told all the same.
    known = estate.customers.get(customer)
    return str(customer) if known is None else known.title


def _served(estate: Estate, site: SiteId) -> tuple[Site, ...]:
    known = estate.customers.get(site.customer)
    if known is None or site.environment not in known.sites:
        return ()
    return estate.served_by(estate.webapp(site))
