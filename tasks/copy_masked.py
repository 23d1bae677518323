"""Copy Production into the incoming database, masked by the source on the way.

Invariant: the marker of this run stands in the incoming database if and only if the copy is whole; a copy
that was cut off is begun anew in an empty database.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.postgres.dump import Dump
from infra.postgres.fingerprint import fingerprint
from infra.postgres.golden import GoldenClone
from infra.postgres.incoming import create_incoming, drop_made, encoding_of, exists, tag_incoming
from infra.postgres.marker import Marker, read_marker, write_marker
from infra.postgres.methods import CopyMethod, CopyReport, choose
from infra.postgres.physical import Physical
from infra.postgres.progress import Progress
from infra.postgres.rds import Rds
from infra.postgres.reach import settle
from infra.postgres.schema import read_schema
from infra.postgres.selections import selections
from infra.postgres.stream import Stream
from tasks.hold_requests import get_ready_to_hold
from tasks.pair import Pair, pair
from tasks.step import Step, Work

METHODS: tuple[CopyMethod, ...] = (GoldenClone(), Rds(), Physical(), Stream(), Dump())
"""Every way to copy; the cheapest that applies is taken."""


def _done(work: Work) -> bool:
    ends = pair(work)
    with ends.on_server() as server:
        if not exists(server, ends.incoming):
            return False
    with ends.on_incoming() as incoming:
        marker = read_marker(incoming)
    return marker is not None and marker.run == work.run


def _do(work: Work) -> Mapping[str, object]:
    ends = pair(work)
    with ends.on_source() as source:
        settle(source)
        source.commit()
        taken = selections(ends.protection(), read_schema(source))
        job = ends.job(taken, fingerprint(source))
        encoding = encoding_of(source)
    method, offers = choose(METHODS, job)
    work.say(f"copying by the method '{method.name}'")
    _make_room(work, ends, encoding, creates=method.creates)
    work.prove()
    work.mid()
    cloned = isinstance(method, GoldenClone)
    if cloned:
        get_ready_to_hold(work)  # Ansible takes longer to start than all that is left to do.
    under_way = False

    def tell(progress: Progress) -> None:
        nonlocal under_way
        if not under_way:
            under_way = True
            work.mid()
        _tell(work, progress)

    report = method.copy(job, tell)
    if not cloned:
        get_ready_to_hold(work)
    work.prove()
    _mark(work, ends, report)
    return {
        **report.facts(),
        "offers": [{"method": offer.method, "applies": offer.applies, "why": offer.why} for offer in offers],
    }


def _make_room(work: Work, ends: Pair, encoding: str, *, creates: bool) -> None:
    """Leave the incoming database empty, or absent for a method that creates it."""
    with ends.on_server() as server:
        filled = False
        if exists(server, ends.incoming):
            with ends.on_incoming() as incoming:
                filled = bool(read_schema(incoming).tables)
        work.prove()
        if filled or creates:
            drop_made(server, ends.incoming, work.run)
        if not creates:
            create_incoming(
                server, ends.target.site.database, work.run, at=work.clock.now(), encoding=encoding
            )


def _mark(work: Work, ends: Pair, report: CopyReport) -> None:
    """Close and tag what a method may have created, then say whole: the marker comes last."""
    with ends.on_server() as server:
        tag_incoming(server, ends.target.site.database, work.run, at=work.clock.now(), proven=report.proven)
    with ends.on_incoming() as incoming:
        write_marker(
            incoming,
            Marker(
                environment=ends.target.site.id.environment,
                customer=ends.target.site.id.customer,
                source=str(ends.source.site.id),
                data_time=report.as_of,
                run=work.run,
                epoch=work.epoch,
                ledger=work.estate.name,
            ),
        )


def _tell(work: Work, progress: Progress) -> None:
    left = "" if progress.eta_s is None else f", about {progress.eta_s:.0f} s left"
    megabytes = progress.bytes_done / 1e6
    work.say(
        f"{progress.phase}: {megabytes:.0f} MB, {progress.rows_done} rows{left}",
        done=progress.share,
        total=1.0,
    )


def _undo(work: Work) -> None:
    """The incoming database is dropped where it was created."""


copy_masked = Step(name="copy_masked", title="Copy with masking", done=_done, do=_do, undo=_undo)
