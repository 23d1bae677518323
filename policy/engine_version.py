"""A major version of PostgreSQL, which is what a request of kind `engine` asks for.

Invariant: it orders and shows like any other version, and is never taken for a release of an application.
"""

from __future__ import annotations

import re

from policy.names import Version


class EngineVersion(Version):
    """A major version of PostgreSQL, for example `18`."""

    pattern = re.compile(r"[1-9][0-9]")
    what = "PostgreSQL version"
    rule = "use the major version, such as 18"
    __slots__ = ()
