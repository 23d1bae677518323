"""The front door: open, holding, closed; drained, woken, restarted; and what it says to whom."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.roles import PLAYBOOKS
from tests.ports import free_port
from tests.waiting import wait_until

DOOR = PLAYBOOKS / "roles" / "door" / "files" / "door.py"
PASS = "pass-word-of-the-checks"


class Application:
    """What stands behind the door; answers slowly when asked to."""

    def __init__(self, port: int) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.startswith("/slow"):
                    time.sleep(1.5)
                body = self.path.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                digest = hashlib.sha256(body).hexdigest().encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(digest)))
                self.end_headers()
                self.wfile.write(digest)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.8.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class House:
    """A door, an application behind it, and the files between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.application: Application | None = Application(self.port)
        site = {"listen": "127.0.0.1", "port": self.port, "backend_address": "127.0.8.1"}
        (folder / "door.json").write_text(json.dumps({"production": {**site, "backend_port": self.port}}))
        self.process = self.open()

    def open(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-I", DOOR, self.folder])
        give_up = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < give_up
                time.sleep(0.02)
            else:
                return process

    def set(self, mode: str, **more: object) -> None:
        state = {"mode": mode, "serial": f"{mode}-{time.monotonic_ns()}", **more}
        making = self.folder / "making"
        making.write_text(json.dumps(state))
        making.rename(self.folder / "production.json")
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: self.told()["serial"] == state["serial"])

    def told(self) -> dict[str, object]:
        return dict(json.loads((self.folder / "production.told.json").read_text()))

    def get(self, path: str = "/", timeout: float = 10, **headers: str) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(
                "GET", path, headers={key.replace("_", "-"): text for key, text in headers.items()}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())
        finally:
            connection.close()

    def close(self) -> None:
        self.process.terminate()
        assert self.process.wait(10) == 0
        if self.application:
            self.application.stop()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_an_open_door_carries_everything_through(house: House) -> None:
    assert house.get("/hello")[:2] == (200, "/hello")
    body = bytes(range(256)) * 4096
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/", body)
        assert connection.getresponse().read().decode() == hashlib.sha256(body).hexdigest()
    connection.close()


def test_the_page_says_what_and_until_when_and_when_to_ask_again(house: House) -> None:
    house.set("maintenance", text="An update <of us>.", until_local="04:30 CST", until_utc=later(90))
    status, text, headers = house.get("/")
    assert status == 503
    assert 80 <= int(headers["Retry-After"]) <= 91
    assert "An update &lt;of us&gt;. It is expected back by 04:30 CST." in text
    told = json.loads(house.get("/", Accept="application/json")[1])
    assert told["message"] == "An update <of us>. It is expected back by 04:30 CST."


def test_the_page_never_promises_a_time_that_has_passed(house: House) -> None:
    house.set("maintenance", text="An update.", until_local="04:30 CST", until_utc=later(1))
    assert "04:30" in house.get("/")[1]
    wait_until(lambda: "04:30" not in house.get("/")[1])
    assert "longer than planned" in house.get("/")[1]
    assert house.get("/")[0] == 503, "the page stays; whether it is safe to open is not the door's to say"


def test_a_lease_that_nobody_renews_ends_where_that_is_safe(house: House) -> None:
    house.set("maintenance", lease_until=later(0.5), on_expiry="open")
    assert house.get("/")[0] == 503
    wait_until(lambda: house.get("/")[0] == 200)


def test_who_knows_the_pass_may_enter(house: House) -> None:
    digest = hashlib.sha256(PASS.encode()).hexdigest()
    house.set("maintenance", pass_sha256=digest)
    assert house.get("/in", X_Freshet_Pass=PASS)[:2] == (200, "/in")
    assert house.get("/in", X_Freshet_Pass="wrong")[0] == 503
    assert house.get("/in", X_Freshet_Pass="")[0] == 503
    assert house.get("/in", X_Freshet_Pass=digest)[0] == 503
    house.set("maintenance")
    assert house.get("/in", X_Freshet_Pass="")[0] == 503, "no pass was set, so none is right"


def test_held_requests_wait_and_are_answered(house: House) -> None:
    house.set("hold", lease_until=later(30))
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(house.get("/", 20)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert answers == []
    house.set("open")
    for thread in threads:
        thread.join()
    assert answers == [200] * 8


def test_a_hold_ends_by_itself(house: House) -> None:
    house.set("hold", lease_until=later(0.7))
    begun = time.monotonic()
    assert house.get("/", 20)[0] == 200
    assert time.monotonic() - begun > 0.3


def test_closing_lets_requests_in_flight_end_and_drops_idle_connections(house: House) -> None:
    idle = http.client.HTTPConnection("127.0.0.1", house.port, timeout=10)
    idle.request("GET", "/first")
    idle.getresponse().read()
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(house.get("/slow")[0]))
    asking.start()
    time.sleep(0.4)
    house.set("maintenance")
    wait_until(lambda: house.told()["busy"] == 1)
    wait_until(lambda: house.told()["busy"] == 0)
    asking.join()
    assert answers == [200], "the request in flight was answered by the application"
    assert idle.sock.recv(1) == b"", "an idle connection was ended"
    idle.close()


def test_an_application_that_restarts_is_waited_for(house: House) -> None:
    assert house.application
    house.application.stop()
    house.application = None
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(house.get("/", 20)[0]))
    asking.start()
    time.sleep(0.5)
    house.application = Application(house.port)
    asking.join()
    assert answers == [200]


def test_a_restarted_door_goes_on_as_before(house: House) -> None:
    house.set("maintenance", text="Still at work.")
    house.process.kill()
    house.process.wait()
    house.process = house.open()
    assert house.get("/")[0] == 503


def test_a_bad_state_file_changes_nothing(house: House) -> None:
    house.set("maintenance")
    for text in ("{", "[]", '{"mode": "ajar", "serial": "1"}', '{"mode": "open"}',
                 '{"mode": "hold", "serial": "1", "lease_until": "soon"}'):  # fmt: skip
        (house.folder / "making").write_text(text)
        (house.folder / "making").rename(house.folder / "production.json")
        house.process.send_signal(signal.SIGUSR1)
        time.sleep(0.15)
        assert house.get("/")[0] == 503
    assert house.process.poll() is None


def test_nonsense_from_users_harms_nobody(house: House) -> None:
    house.set("maintenance")
    for nonsense in (b"", b"\0" * 100, b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 70_000):
        connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=2)
        connection.connect()
        try:
            connection.sock.sendall(nonsense)
            connection.sock.shutdown(1)
            connection.sock.recv(1000)
        except OSError:
            pass
        finally:
            connection.close()
    assert house.get("/")[0] == 503
    house.set("open")
    assert house.get("/")[0] == 200
