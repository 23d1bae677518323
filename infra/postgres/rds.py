"""RDS and Aurora: a clone or a snapshot restore made by AWS, on the ladder so that every report speaks of it.

Invariant: it never offers itself before it can be carried out.
"""

from __future__ import annotations

from infra.postgres.methods import CopyJob, CopyReport, Offer
from infra.postgres.progress import Watch
from policy.errors import Refused

_SUFFIXES = (".rds.amazonaws.com", ".rds.amazonaws.com.cn")


class Rds:
    """AWS's own copy, as a copy method."""

    name = "rds"
    creates = True

    def offer(self, job: CopyJob) -> Offer:
        """Does not apply here, and says why."""
        return Offer(method=self.name, applies=False, why=self._why(job))

    def copy(self, job: CopyJob, progress: Watch) -> CopyReport:  # noqa: ARG002 - the interface
        """Refuse.

        Raises:
            Refused: always; another method is to be chosen.
        """
        raise Refused(f"copy method rds does not apply: {self._why(job)}")

    @staticmethod
    def _why(job: CopyJob) -> str:
        hosts = {job.source.host, job.target.host}
        if not all(host.endswith(_SUFFIXES) for host in hosts):
            return "source and target are not both RDS or Aurora databases"
        return "a clone by AWS arrives unmasked; it needs a closed server of its own to be masked on first"
