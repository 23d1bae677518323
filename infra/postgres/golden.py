"""The golden image: a masked copy that nobody may enter, kept beside the targets and cloned in one statement.

It says itself what it is, in its database comment: whose data, of when, under which policy and schema. Where
the file system can share blocks and the server is PostgreSQL 18 or newer, a clone costs neither time nor
space; elsewhere the server copies the files.

Invariant: an image takes its name only when it is whole and closed, and one that no longer fits the policy,
the key, the schema or the age is not used.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from infra.postgres.fingerprint import fingerprint
from infra.postgres.incoming import close_to_others, exists
from infra.postgres.methods import CopyJob, CopyMethod, CopyReport, Offer
from infra.postgres.progress import Meter, Watch, unwatched
from infra.postgres.server_error import telling
from policy.errors import Refused, StepFailed

ADMIN_DATABASE = "postgres"
BYTES_PER_SECOND = 800_000_000
"""Where files are copied; a clone of blocks takes no time that grows with the size."""

STANDING_SECONDS = 0.5
_END_SESSIONS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
_PREFIX = "freshet golden "
_ALLOW = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
_FIRST_WITH_STRATEGY = 150000
_FIRST_WITH_CLONE = 180000
_TICK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Golden:
    """What an image's comment says.

    Attributes:
        source: server and database that it was made from.
        system: that server's system identifier.
        policy: `CopyJob.policy_hash` at that time.
        schema: `fingerprint` of the source at that time.
        as_of: the source's time of the data.
    """

    source: str
    system: str
    policy: str
    schema: str
    as_of: str
    tables: int
    rows: int
    bytes: int

    def age(self, now: datetime) -> timedelta:
        """How old its data are."""
        return now - datetime.fromisoformat(self.as_of)


def read_golden(admin: psycopg.Connection, name: str) -> Golden | None:
    """What the image `name` says of itself, or None if there is none or it is not one of ours."""
    row = admin.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
    ).fetchone()
    if row is None or not (row[0] or "").startswith(_PREFIX):
        return None
    try:
        return Golden(**json.loads(row[0].removeprefix(_PREFIX)))
    except (ValueError, TypeError):
        return None


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
        """
        began = time.monotonic()
        image, reasons = _fitting(job)
        if image is None or reasons or job.golden is None:
            raise Refused(*reasons)
        checked = time.monotonic()
        with job.on_target(ADMIN_DATABASE, autocommit=True) as admin:
            _drop_incoming(admin, job.incoming)
            how = _clone(admin, job.golden, job.incoming, image.bytes, progress)
            close_to_others(admin, job.incoming)
            admin.execute(_ALLOW.format(sql.Identifier(job.incoming), sql.SQL("true")))
        return CopyReport(
            method=self.name,
            tables=image.tables,
            rows=image.rows,
            bytes=image.bytes,
            phases={"checks": checked - began, "clone": time.monotonic() - checked},
            as_of=datetime.fromisoformat(image.as_of),
            notes=(how,),
        )


@telling("building the golden image")
def build_golden(
    job: CopyJob, through: CopyMethod, progress: Watch = unwatched, *, asked: CopyJob | None = None
) -> CopyReport:
    """Build the image that `job` names through another method, and put it in the old one's place.

    Args:
        job: its `incoming` is the database to build in, as `through` needs it, on the server of the targets.
        through: brings the masked data.
        progress: told how far it is.
        asked: the copy that the image will be offered for, where `job` reads from another place that holds
            Production's data masked already; its `fingerprint` is set.

    Raises:
        Refused: the job names no image.
        StepFailed: a server refused something.
        Unavailable: a server was lost.
    """
    if job.golden is None:
        raise Refused(f"server '{job.target.name}': this copy names no golden image to build")
    asked = asked or job
    with asked.on_source() as source:
        word = asked.fingerprint or fingerprint(source)
        system = _system(source)
    report = through.copy(replace(job, fingerprint=word), progress)
    with job.on_target(ADMIN_DATABASE, autocommit=True) as admin:
        size = admin.execute("SELECT pg_database_size(%s::name)", [job.incoming]).fetchone()
        image = Golden(
            source=f"{asked.source.name}/{asked.source_database}",
            system=system,
            policy=asked.policy_hash(),
            schema=word,
            as_of=report.as_of.isoformat(),
            tables=report.tables,
            rows=report.rows,
            bytes=int(size[0]) if size else 0,
        )
        _install(admin, job.incoming, job.golden, image)
    return report


def _install(admin: psycopg.Connection, incoming: str, golden: str, image: Golden) -> None:
    """Close the new image for good, and let it take the name in one transaction."""
    retired = f"{golden}_old"
    new, name, old = (sql.Identifier(word) for word in (incoming, golden, retired))
    admin.execute(_ALLOW.format(new, sql.SQL("false")))
    admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [incoming]
    )
    text = _PREFIX + json.dumps(asdict(image))
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(old))
    with admin.transaction():
        if exists(admin, golden):
            admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(name, old))
        admin.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(new, sql.Literal(text)))
        admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(new, name))
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(old))


def _fitting(job: CopyJob) -> tuple[Golden | None, tuple[str, ...]]:
    """The image, and every reason why it may not be used for `job`."""
    if job.golden is None:
        return None, ("no golden image is kept for this database",)
    with job.on_target(ADMIN_DATABASE, autocommit=True) as admin:
        image = read_golden(admin, job.golden)
    if image is None:
        return None, (f"there is no golden image '{job.golden}' on server '{job.target.name}'",)
    with job.on_source() as source:
        system, word = _system(source), fingerprint(source)
        row = source.execute("SELECT clock_timestamp()").fetchone()
    reasons: list[str] = []
    if (image.source, image.system) != (f"{job.source.name}/{job.source_database}", system):
        reasons.append("the image was made from another database")
    age = image.age(row[0]) if row else job.golden_max_age * 2
    if age > job.golden_max_age:
        reasons.append(f"the image's data are {_days(age)} old, allowed are {_days(job.golden_max_age)}")
    if image.policy != job.policy_hash():
        reasons.append("the protection policy or its key changed after the image was made")
    if image.schema != word or (job.fingerprint or word) != word:
        reasons.append("the source's schema changed after the image was made")
    return image, tuple(reasons)


def _system(source: psycopg.Connection) -> str:
    row = source.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    return str(row[0]) if row else ""


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.1f} days"


def _drop_incoming(admin: psycopg.Connection, name: str) -> None:
    """Drop what a killed attempt of the same run left; only a run's own name is ever dropped."""
    if "__in_" not in name:
        raise Refused(f"database '{name}' is not an incoming one, it is not replaced")
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _clone(admin: psycopg.Connection, golden: str, incoming: str, size: int, watch: Watch) -> str:
    """Clone; how it was done, one sentence."""
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


def _create(admin: psycopg.Connection, golden: str, incoming: str, size: int, watch: Watch) -> None:
    strategy = sql.SQL("STRATEGY file_copy" if admin.info.server_version >= _FIRST_WITH_STRATEGY else "")
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} {} ALLOW_CONNECTIONS false").format(
        sql.Identifier(incoming), sql.Identifier(golden), strategy
    )
    meter = Meter(bytes_total=size, weight=size)
    meter.phase = "cloning the golden image"
    failure: list[BaseException] = []

    def create() -> None:
        try:
            admin.execute(statement)
        except psycopg.Error as error:
            failure.append(error)

    creator = threading.Thread(target=create, daemon=True)
    creator.start()
    try:
        while creator.is_alive():
            creator.join(_TICK_SECONDS)
            watch(meter.look())
    finally:
        if creator.is_alive():
            admin.cancel_safe()
        creator.join()
    if failure:
        raise failure[0]
