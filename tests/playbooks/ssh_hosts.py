"""Real SSH hosts on one machine: namespaces with a network, a root and an sshd of their own.

Needs root. Each host has an overlay over this machine's root: what is installed there is seen nowhere else.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from policy.machines import Host
from policy.names import HostName, SecretName

PACKAGES = ("openssh-server", "openssh-sftp-server", "libwrap0")

_START = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$FOLDER"
mkdir -p "$FOLDER/upper" "$FOLDER/work" "$FOLDER/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$FOLDER/upper",workdir="$FOLDER/work" "$FOLDER/root"
hostname "$NAME"
cd "$FOLDER/root"
mount -t proc proc proc
mount --rbind /dev dev
mkdir -p run/sshd root/.ssh usr/lib/openssh
grep -q '^sshd:' etc/passwd || echo 'sshd:x:74:74::/run/sshd:/usr/sbin/nologin' >> etc/passwd
cp -a "$UNPACKED/." .
cp "$KEYS/user.pub" root/.ssh/authorized_keys
chmod 700 root/.ssh; chmod 600 root/.ssh/authorized_keys
mkdir -p srv/supervisor/conf.d
cat > srv/supervisor/supervisord.conf <<END
[supervisord]
logfile=/srv/supervisor/supervisord.log
pidfile=/srv/supervisor/supervisord.pid
[unix_http_server]
file=/srv/supervisor/control
[supervisorctl]
serverurl=unix:///srv/supervisor/control
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files=/srv/supervisor/conf.d/*.conf
END
chroot . /bin/sh -c "cd / && $PYTHON -W ignore $SUPERVISORD -c /srv/supervisor/supervisord.conf"
exec chroot . /usr/sbin/sshd -D -e -f /dev/null -h "$KEYS/host" -o PidFile=none -o UsePAM=no \
  -o PasswordAuthentication=no -o PermitRootLogin=yes -o StrictModes=no \
  -o Subsystem="sftp /usr/lib/openssh/sftp-server"
"""


def need_namespaces() -> None:
    """Skip where hosts cannot be made, and say why."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    for tool in ("ip", "unshare", "mount", "ssh-keygen", "dpkg", "chroot"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs the program {tool}")
    tried = subprocess.run(
        [_program("unshare"), "--mount", "--net", "--pid", "--fork", "true"], check=False, capture_output=True
    )
    if tried.returncode != 0:
        pytest.skip(f"namespaces are refused here: {tried.stderr.decode().strip()}")


def unpacked_sshd(folder: Path) -> Path:
    """An sshd from Debian's package, unpacked only; skips where the package cannot be had."""
    folder.mkdir()
    done = subprocess.run(
        [_program("apt-get"), "download", *PACKAGES],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        pytest.skip(f"openssh-server cannot be downloaded: {done.stderr.strip()[-200:]}")
    for package in folder.glob("*.deb"):
        subprocess.run([_program("dpkg"), "-x", package, folder / "root"], check=True)
    if (folder / "root" / "lib").is_dir():
        # Where /lib is a link to /usr/lib, the package's files belong behind it.
        shutil.copytree(folder / "root" / "lib", folder / "root" / "usr" / "lib", dirs_exist_ok=True)
        shutil.rmtree(folder / "root" / "lib")
    return folder / "root"


@dataclass(frozen=True)
class SshHost:
    """One of them."""

    host: Host
    namespace: str
    link: str

    def cut_off(self) -> None:
        """Take its network away."""
        subprocess.run([_program("ip"), "link", "set", self.link, "down"], check=True)

    def join_again(self) -> None:
        """Give it back."""
        subprocess.run([_program("ip"), "link", "set", self.link, "up"], check=True)

    def run(self, *command: str) -> str:
        """Run a command there through SSH's own way in."""
        done = subprocess.run(
            [_program("ip"), "netns", "exec", self.namespace, *command],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


@contextmanager
def ssh_hosts(count: int, folder: Path, secrets: Path, python: Path) -> Iterator[tuple[str, list[SshHost]]]:
    """Start `count` hosts; gives this machine's address towards them, and the hosts.

    The key is the secret `host-key`; the hosts' own keys are in `known-hosts`, and checked.
    """
    unpacked = unpacked_sshd(folder / "sshd")
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(
            [_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True
        )
    shutil.copy(keys / "user", secrets / "host-key")
    (secrets / "host-key").chmod(0o600)
    tag = f"fr{os.getpid() % 100_000}"
    net = f"10.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}"
    bridge = f"{tag}b"
    public = " ".join((keys / "host.pub").read_text().split()[:2])
    (secrets / "known-hosts").write_text("".join(f"{net}.{10 + n} {public}\n" for n in range(count)))
    with ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        hosts = []
        for number in range(count):
            namespace, link = f"{tag}n{number}", f"{tag}v{number}"
            _ip("netns", "add", namespace)
            stack.callback(_ip, "netns", "del", namespace)
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("link", "set", link, "master", bridge, "up")
            for words in (
                ("addr", "add", f"{net}.{10 + number}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                _ip("-n", namespace, *words)
            place = folder / f"host{number}"
            place.mkdir()
            log = stack.enter_context((folder / f"host{number}.log").open("wb"))
            environment = {
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/root",
                "FOLDER": str(place),
                "NAME": f"{tag}-{number}",
                "UNPACKED": str(unpacked),
                "KEYS": str(keys),
                "PYTHON": str(python),
                "SUPERVISORD": str(python.with_name("supervisord")),
            }
            inside = [_program("ip"), "netns", "exec", namespace]
            apart = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
            process = subprocess.Popen(
                [*inside, *apart, "/bin/sh", "-c", _START],
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
            stack.callback(_end, process)
            host = Host(
                name=HostName(f"host-{number}"),
                connection="ssh",
                address=f"{net}.{10 + number}",
                port=22,
                user="root",
                key=SecretName("host-key"),
            )
            hosts.append(SshHost(host=host, namespace=namespace, link=link))
        for number, each in enumerate(hosts):
            _wait_for(str(each.host.address), 22, folder / f"host{number}.log")
        yield f"{net}.1", hosts


@contextmanager
def forwarded(address: str, port: int) -> Iterator[None]:
    """Let the hosts reach a server that listens on this machine's loopback only, on the same port."""
    listener = socket.create_server((address, port))
    ended = threading.Event()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join(10)

    def accept() -> None:
        while not ended.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _program(name: str) -> str:
    return shutil.which(name) or name


def _ip(*words: str) -> None:
    subprocess.run([_program("ip"), *words], check=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _wait_for(address: str, port: int, log: Path) -> None:
    give_up = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)
        else:
            return
