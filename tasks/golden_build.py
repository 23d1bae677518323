"""Build golden images: Production is read once, and every site of a customer on a server gets its own image.

An image is neutralised and proven for its site before it takes its name, so a clone of it need not be.

Invariant: until an image is masked, neutralised, proven and closed it has neither the name nor the comment of
one; whatever ends a build, the image of before stays as it was.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg

from infra.failpoints import failpoint
from infra.postgres import golden_build as images
from infra.postgres.backends import end_backends
from infra.postgres.classify import classify
from infra.postgres.conditions import check_conditions, check_probes
from infra.postgres.dump import Dump
from infra.postgres.fences import check_fences
from infra.postgres.fingerprint import fingerprint
from infra.postgres.golden import clone, system_of
from infra.postgres.golden_image import Building, Golden, kept_images
from infra.postgres.incoming import encoding_of
from infra.postgres.methods import CopyJob, CopyMethod, CopyReport, choose
from infra.postgres.neutralise import Places, neutralise
from infra.postgres.preflight import preflight
from infra.postgres.progress import Progress, unwatched
from infra.postgres.proof import prove_copy
from infra.postgres.reach import settle
from infra.postgres.schema import read_schema
from infra.postgres.selections import selections
from infra.postgres.session import connect
from infra.postgres.stream import Stream
from policy.errors import FreshetError, Refused, StepFailed
from policy.estate import Estate, Site
from policy.names import CustomerName, Environment, ServerName, building_name, golden_name
from tasks.golden_claim import FOLDER, Claim
from tasks.pair import Pair
from tasks.world import World

log = logging.getLogger("freshet.golden")

METHODS: tuple[CopyMethod, ...] = (Stream(), Dump())
"""What brings an image; the cheapest that applies is taken."""

POINT = "golden.build"
"""Failpoints: `.copied` when the rows are there, `.proven` before the image takes its name."""


EVERY_S = 5.0
"""Seconds between two words about how far a copy is."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that was built."""

    site: str
    server: ServerName
    name: str
    image: Golden
    seconds: float


def sites_with_images(estate: Estate, customer: CustomerName) -> dict[ServerName, tuple[Site, ...]]:
    """The customer's sites that are refreshed from Production, by the server that their images lie on.

    Raises:
        Refused: the estate has no such customer, or it has nothing but Production.
    """
    found: dict[ServerName, list[Site]] = {}
    for site in estate.customer(customer).sites.values():
        if site.id.environment is not Environment.PRODUCTION:
            found.setdefault(site.server, []).append(site)
    if not found:
        raise Refused(f"customer: {customer} has no Sandbox, Staging or Preview to keep an image for")
    return {server: tuple(sites) for server, sites in found.items()}


def build_images(
    world: World, customer: CustomerName, speak: Callable[[str], None], *, server: ServerName | None = None
) -> list[Built]:
    """Build the images of `customer` anew, on one server or on every one that holds sites of it.

    Args:
        world: the ledger, the estate, the secrets.
        customer: whose.
        speak: told what is going on.
        server: only there.

    Raises:
        Refused: something keeps the build from beginning; every reason.
        Busy: another builder is at it.
        StepFailed: it failed; the images of before are as they were.
        Unavailable: a server or the ledger does not answer.
    """
    estate = world.estate()
    places = sites_with_images(estate, customer)
    if server is not None and server not in places:
        raise Refused(f"server: {customer} has no site on '{server}'; it has some on {', '.join(places)}")
    built: list[Built] = []
    for name, sites in places.items():
        if server is None or name == server:
            with Claim(world, estate, customer, name, speak) as claim:
                built += _build(claim, sites)
    return built


def _build(claim: Claim, sites: Sequence[Site]) -> list[Built]:
    began = claim.world.clock.now()
    ends = [_ends(claim, site) for site in sites]
    _clear(claim, ends)
    job, schema, system, encoding = _check(claim, ends)
    try:
        return _made(claim, ends, began, job, schema=schema, system=system, encoding=encoding)
    except BaseException:
        _give_up(claim, ends)
        raise


def _made(
    claim: Claim,
    ends: Sequence[Pair],
    began: datetime,
    job: CopyJob,
    *,
    schema: str,
    system: str,
    encoding: str,
) -> list[Built]:
    method, offers = choose(METHODS, job)
    raw = ends[-1]
    with raw.on_server() as server:
        images.start_building(server, raw.target.site.database, _building(claim), encoding=encoding)
    claim.say(f"building by the method '{method.name}': {offers[METHODS.index(method)].why}")
    report = method.copy(job, _Teller(claim))
    failpoint(f"{POINT}.copied")
    with raw.on_server() as server:
        for other in ends[:-1]:
            claim.prove()
            images.shut(server, raw.incoming)
            clone(server, raw.incoming, other.incoming, report.bytes, unwatched)
            images.announce(server, other.incoming, _building(claim))
            images.open_to_owner(server, other.incoming)
        images.open_to_owner(server, raw.incoming)
    described = images.described(job, report, schema=schema, system=system)
    built = [_finish(claim, each, described, report, began) for each in ends]
    claim.facts = {"copy": report.facts(), "images": [each.name for each in built]}
    return built


def _give_up(claim: Claim, ends: Sequence[Pair]) -> None:
    """Drop what is not whole; what cannot be dropped now is known by its number, and left to the sweep."""
    try:
        with ends[0].on_server() as server:
            for each in ends:
                images.drop_image(server, each.incoming)
    except (FreshetError, psycopg.Error) as error:
        log.warning(
            "golden build %d left something behind (%s)", claim.number, error, extra={"action": "golden_left"}
        )


def _finish(claim: Claim, ends: Pair, image: Golden, report: CopyReport, began: datetime) -> Built:
    """Neutralise and prove one image, and give it its name."""
    site, protection = ends.target.site, ends.protection()
    places = Places.of(ends.source.site, site)
    claim.say(f"{site.id}: neutralising and proving")
    with ends.on_source() as source, ends.on_incoming() as building:
        neutralise(building, protection, places)
        proof = prove_copy(source, building, protection, places, ends.key())
    if proof.findings:
        raise StepFailed(f"{site.id}: the image was not accepted: " + "; ".join(proof.findings))
    failpoint(f"{POINT}.proven")
    now = claim.world.clock.now()
    whole = replace(
        image, proven=ends.proof(), site=str(site.id), ledger=claim.ledger, built_at=now.isoformat()
    )
    name = golden_name(site.database)
    with ends.on_server() as server:
        whole = images.install_golden(server, ends.incoming, name, whole)
    data = f"{report.as_of:%Y-%m-%d %H:%M} UTC"
    claim.say(f"{site.id}: {name} is ready, {whole.bytes / 1e9:.2f} GB with data of {data}")
    return Built(
        site=str(site.id), server=site.server, name=name, image=whole, seconds=(now - began).total_seconds()
    )


def _check(claim: Claim, ends: Sequence[Pair]) -> tuple[CopyJob, str, str, str]:
    """Everything that can be known before anything is changed, told at once.

    Returns:
        The copy, the source's schema, its cluster's identity and its encoding.
    """
    findings: list[str] = []
    rules = {each.protection().digest for each in ends}
    if len(rules) > 1:
        findings.append(
            f"policy: the sites of {claim.customer} on {claim.server} run different applications, which are "
            "masked differently; give them database servers of their own"
        )
    last = ends[-1]
    protection = last.protection()
    with last.on_source() as source:
        settle(source)
        source.commit()
        for each in ends:
            with each.on_target() as target:
                try:
                    check_fences(
                        each.source,
                        each.target,
                        source_connection=source,
                        target_connection=target,
                        secrets=claim.secrets,
                    )
                except Refused as refused:
                    findings += refused.findings
        schema = read_schema(source)
        missing = classify(protection, schema)
        if missing:
            raise Refused(*dict.fromkeys((*findings, *missing)))
        taken = selections(protection, schema)
        word, system, encoding = fingerprint(source), system_of(source), encoding_of(source)
        findings += check_conditions(source, taken, last.key())
        findings += check_probes(source, protection)
        job = last.job(taken, word)
        findings += preflight(job)
    if findings:
        raise Refused(*dict.fromkeys(findings))
    return job, word, system, encoding


def _clear(claim: Claim, ends: Sequence[Pair]) -> None:
    """End and drop what an earlier builder of these images left; it has lost its claim."""
    source, target = ends[0].source.server, ends[0].target.server
    for number in claim.lost:
        shutil.rmtree(claim.world.settings.run_dir / f"{FOLDER}{number}", ignore_errors=True)
        for place, login in ((source, source.reader), (target, target.owner)):
            if login is not None:
                with connect(
                    place, "postgres", login, claim.secrets, run=claim.run, autocommit=True
                ) as session:
                    claim.prove()
                    end_backends(session, run=f"{FOLDER}{number}")
    databases = {each.target.site.database for each in ends}
    with ends[0].on_server() as server:
        for left in kept_images(server):
            if left.ledger == claim.ledger and left.database in databases and not left.serves:
                claim.prove()
                images.drop_image(server, left.name)
                claim.say(f"dropped {left.name}, which an earlier build left behind")


def _ends(claim: Claim, site: Site) -> Pair:
    return Pair(
        work=claim,
        source=claim.estate.source(claim.customer),
        target=claim.estate.target(site.id),
        incoming=building_name(site.database, claim.number),
    )


def _building(claim: Claim) -> Building:
    return Building(ledger=claim.ledger, build=claim.number)


class _Teller:
    """Says how far a copy is: when it begins something else, and every few seconds."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._phase, self._said = "", 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase == self._phase and now - self._said < EVERY_S:
            return
        self._phase, self._said = progress.phase, now
        left = "" if progress.eta_s is None else f", about {progress.eta_s:.0f} s left"
        megabytes = progress.bytes_done / 1e6
        self._claim.say(f"{progress.phase}: {megabytes:.0f} MB, {progress.rows_done} rows{left}")
