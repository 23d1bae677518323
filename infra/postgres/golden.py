"""The golden image: a masked copy that nobody may enter, kept beside the targets and cloned in one statement.

It says itself what it is (`golden_image`). Where the file system can share blocks and the server is
PostgreSQL 18 or newer, a clone costs neither time nor space; elsewhere the server copies the files.

Invariant: an image that no longer fits the policy, the key, the schema, the addresses or the age is not used.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from infra.attended import Attended
from infra.postgres.fingerprint import fingerprint
from infra.postgres.golden_image import Golden, read_golden
from infra.postgres.incoming import close_to_others
from infra.postgres.methods import CopyJob, CopyReport, Offer
from infra.postgres.progress import Meter, Watch
from infra.postgres.server_error import telling
from policy.errors import Refused, StepFailed, Unavailable

ADMIN_DATABASE = "postgres"
BYTES_PER_SECOND = 800_000_000
"""Where files are copied; a clone of blocks takes no time that grows with the size."""

STANDING_SECONDS = 0.5
ALLOW = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
_FIRST_WITH_STRATEGY = 150000
_FIRST_WITH_CLONE = 180000
_TICK_SECONDS = 0.2


class GoldenClone:
    """Cloning the golden image, as a copy method."""

    name = "golden"
    creates = True

    @telling("looking at the golden image")
    def offer(self, job: CopyJob) -> Offer:
        """Applies when the image is there, young enough, and made under this policy, key and schema."""
        image, reasons = _fitting(job)
        if image is None or reasons:
            return Offer(method=self.name, applies=False, why="; ".join(reasons))
        return Offer(
            method=self.name,
            applies=True,
            why=f"image of {image.bytes / 1e9:.2f} GB with data of {image.as_of}",
            expected_s=STANDING_SECONDS + image.bytes / BYTES_PER_SECOND,
        )

    @telling("cloning the golden image")
    def copy(self, job: CopyJob, progress: Watch) -> CopyReport:
        """Create the incoming database from the image, born closed.

        Raises:
            Refused: the image does not fit any more.
            StepFailed: the server refused.
            Unavailable: another image took its place meanwhile.
        """
        began = time.monotonic()
        image, reasons = _fitting(job)
        if image is None or reasons or job.golden is None:
            raise Refused(*reasons)
        checked = time.monotonic()
        with job.on_target(ADMIN_DATABASE, autocommit=True) as admin:
            _drop_incoming(admin, job.incoming)
            how = clone(admin, job.golden, job.incoming, image.bytes, progress)
            if read_golden(admin, job.golden) != image:
                # What was cloned may be the new one, which nobody has judged.
                _drop_incoming(admin, job.incoming)
                raise Unavailable(f"golden image '{job.golden}' was replaced just now; it is tried again")
            close_to_others(admin, job.incoming)
            admin.execute(ALLOW.format(sql.Identifier(job.incoming), sql.SQL("true")))
        proven = f"neutralised and proven when it was built, {image.built_at}"
        return CopyReport(
            method=self.name,
            tables=image.tables,
            rows=image.rows,
            bytes=image.bytes,
            phases={"checks": checked - began, "clone": time.monotonic() - checked},
            as_of=datetime.fromisoformat(image.as_of),
            notes=(how, proven) if image.proven else (how,),
            proven=image.proven,
        )


def clone(admin: psycopg.Connection, golden: str, incoming: str, size: int, watch: Watch) -> str:
    """Create the closed database `incoming` from one that nobody is connected to; how, in one sentence.

    Raises:
        StepFailed: the server refused.
    """
    began = time.monotonic()
    if admin.info.server_version >= _FIRST_WITH_CLONE:
        admin.execute("SET file_copy_method = clone")
        try:
            _create(admin, golden, incoming, size, watch)
        except (psycopg.errors.QueryCanceled, psycopg.errors.DuplicateDatabase):
            raise
        except psycopg.Error:
            # The file system may not know how; if it is something else, copying says so.
            admin.execute("SET file_copy_method = copy")
        else:
            took = time.monotonic() - began
            return f"the server let the file system clone {size / 1e9:.2f} GB in {took:.2f} s"
    try:
        _create(admin, golden, incoming, size, watch)
    except psycopg.Error as error:
        raise StepFailed(f"copying '{golden}' failed: {error.diag.message_primary}") from None
    return f"the server copied {size / 1e9:.2f} GB of files in {time.monotonic() - began:.2f} s"


def _fitting(job: CopyJob) -> tuple[Golden | None, tuple[str, ...]]:
    """The image, and every reason why it may not be used for `job`."""
    if job.golden is None:
        return None, ("no golden image is kept for this database",)
    with job.on_target(ADMIN_DATABASE, autocommit=True) as admin:
        image = read_golden(admin, job.golden)
        row = admin.execute(
            "SELECT datallowconn FROM pg_database WHERE datname = %s", [job.golden]
        ).fetchone()
    if image is None:
        return None, (f"there is no golden image '{job.golden}' on server '{job.target.name}'",)
    with job.on_source() as source:
        system, word = system_of(source), fingerprint(source)
        now = source.execute("SELECT clock_timestamp()").fetchone()
    reasons: list[str] = []
    if row is None or row[0]:
        reasons.append("the image was opened, so nobody knows what is in it")
    if (image.source, image.system) != (f"{job.source.name}/{job.source_database}", system):
        reasons.append("the image was made from another database")
    age = image.age(now[0]) if now else job.golden_max_age * 2
    if age > job.golden_max_age:
        reasons.append(f"the image's data are {_days(age)} old, allowed are {_days(job.golden_max_age)}")
    if image.policy != job.policy_hash():
        reasons.append("the protection policy or its key changed after the image was made")
    if image.proven != job.proof:
        reasons.append("the image was not proven under the present policy, addresses and release")
    if image.schema != word or (job.fingerprint or word) != word:
        reasons.append("the source's schema changed after the image was made")
    return image, tuple(reasons)


def system_of(source: psycopg.Connection) -> str:
    """The identity of the cluster of `source`."""
    row = source.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    return str(row[0]) if row else ""


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.1f} days"


def _drop_incoming(admin: psycopg.Connection, name: str) -> None:
    """Drop what a killed attempt of the same run left; only a run's own name is ever dropped."""
    if "__in_" not in name:
        raise Refused(f"database '{name}' is not an incoming one, it is not replaced")
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _create(admin: psycopg.Connection, golden: str, incoming: str, size: int, watch: Watch) -> None:
    strategy = sql.SQL("STRATEGY file_copy" if admin.info.server_version >= _FIRST_WITH_STRATEGY else "")
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} {} ALLOW_CONNECTIONS false").format(
        sql.Identifier(incoming), sql.Identifier(golden), strategy
    )
    meter = Meter(bytes_total=size, weight=size)
    meter.phase = "cloning the golden image"
    creating = Attended(lambda: admin.execute(statement), end=admin.cancel_safe, name="golden-clone")
    creating.wait(lambda: watch(meter.look()), every_s=_TICK_SECONDS)
