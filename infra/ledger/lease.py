"""The lease on a web application: who may act now, proven by an epoch that only grows.

Invariant: at any time at most one epoch can be proven, so a worker that was frozen and wakes up proves
nothing and touches nothing. Time is the ledger's own.
"""

from __future__ import annotations

from infra.ledger.connection import Connection
from policy.errors import Busy
from policy.names import RunId


def take(connection: Connection, *, webapp: str, run: RunId, holder: str, lease_seconds: int) -> int:
    """Take the lease for `run`, or take it over when it was not renewed in time.

    Returns:
        The new epoch.

    Raises:
        Busy: another worker holds and renews it.
    """
    row = connection.execute(
        "insert into lease (webapp, epoch, run, holder, renewed_at)"
        " values (%(webapp)s, 1, %(run)s, %(holder)s, now())"
        " on conflict (webapp) do update set epoch = lease.epoch + 1, run = excluded.run,"
        " holder = excluded.holder, renewed_at = now()"
        " where lease.run is null or lease.renewed_at < now() - make_interval(secs => %(seconds)s)"
        " returning epoch",
        {"webapp": webapp, "run": run, "holder": holder, "seconds": lease_seconds},
    ).fetchone()
    if row is None:
        raise Busy(f"run {run}: another worker holds the lease on {webapp}; it is tried again")
    return int(str(row["epoch"]))


def lock(connection: Connection, *, webapp: str) -> None:
    """Keep others off the lease until this transaction ends.

    Whoever needs both locks the lease before the request; in the other order two workers could each hold what
    the other one waits for.
    """
    # A row that is not there yet cannot be locked, and the first two workers would not wait for each other.
    connection.execute(
        "insert into lease (webapp, epoch, renewed_at) values (%s, 0, now()) on conflict do nothing",
        (webapp,),
    )
    connection.execute("select from lease where webapp = %s for update", (webapp,))


def prove(connection: Connection, *, webapp: str, run: RunId, epoch: int) -> None:
    """Prove and renew the lease.

    Raises:
        Busy: the epoch is no longer the newest; another worker took over.
    """
    row = connection.execute(
        "update lease set renewed_at = now() where webapp = %s and run = %s and epoch = %s returning epoch",
        (webapp, run, epoch),
    ).fetchone()
    if row is None:
        raise Busy(f"run {run}: epoch {epoch} on {webapp} was taken over; this worker touches nothing more")


def release(connection: Connection, *, webapp: str, run: RunId, epoch: int) -> None:
    """Give the lease back; the epoch stays, so that the next is larger."""
    connection.execute(
        "update lease set run = null, holder = null where webapp = %s and run = %s and epoch = %s",
        (webapp, run, epoch),
    )
