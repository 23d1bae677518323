"""The process that is `ansible-playbook`: the same program, but it does not outlive whoever started it.

Invariant: when the starter dies, even by SIGKILL, the kernel sends this process SIGTERM, which Ansible passes
on to its workers. Being the same process, it costs no start of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Tie this process to its starter, whose process id is the first argument, then become Ansible.

    Returns:
        143 when the starter died in between; otherwise it ends the process itself, with Ansible's status.
    """
    starter = int(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != starter:
        return 143  # The starter died in between.
    sys.argv = ["ansible-playbook", *sys.argv[2:]]
    from ansible.cli.playbook import main as playbook  # noqa: PLC0415 - only once the process is tied

    try:
        code = playbook()
    except SystemExit as ended:
        code = ended.code
    status = code if isinstance(code, int) else int(code is not None)
    # Ansible has cleaned up and told its last event; while the interpreter takes itself apart, users wait.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
