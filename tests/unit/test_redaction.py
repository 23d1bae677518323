"""No log route shows a secret: no message, argument, traceback or extra field, in no coding."""

from __future__ import annotations

import base64
import io
import json
import logging
import logging.config
import sys
import threading
import time
import timeit
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from infra import redaction
from infra.redaction import Redactor, Registry, protect_logs, redact
from infra.secrets import SecretFiles
from policy.errors import Unavailable
from policy.names import SecretName

SECRET = 'c4nary/"Zürich"+%~<tok&n>'


class Everything(logging.Formatter):
    """Shows a record with all that was attached to it, as a JSON formatter would."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        extras = {key: value for key, value in vars(record).items() if key not in {"msg", "args"}}
        return f"{text}\n{extras!r}\n{record.msg!r} {record.args!r}"


def fail(text: str) -> None:
    raise ValueError(text) from OSError(text)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    factory, hook, thread_hook = logging.getLogRecordFactory(), sys.excepthook, threading.excepthook
    places = [logging.root, *logging.root.handlers, logging.getLogger("prefect")]
    filters = [(place, list(place.filters)) for place in places]
    monkeypatch.setattr(redaction, "_KNOWN", Registry())
    # Another test of this process may have carried out a flow, which protects the logs for good.
    logging.setLogRecordFactory(logging.LogRecord)
    for place, before in filters:
        place.filters[:] = [known for known in before if not isinstance(known, Redactor)]
    yield
    logging.setLogRecordFactory(factory)
    sys.excepthook, threading.excepthook = hook, thread_hook
    for place, before in filters:
        place.filters[:] = before


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Everything())
    logging.root.addHandler(handler)
    yield stream
    logging.root.removeHandler(handler)


def codings(secret: str) -> dict[str, str]:
    raw = secret.encode()
    return {
        "plain": secret,
        "in a sentence": f"login failed for user=app password={secret} host=db",
        "base64": base64.b64encode(raw).decode(),
        "urlsafe base64": base64.urlsafe_b64encode(raw).decode(),
        "basic authorisation": base64.b64encode(b"a:" + raw).decode(),
        "basic authorisation, shifted": base64.b64encode(b"ab:" + raw + b"\n").decode(),
        "base64 of a JSON": base64.b64encode(b'{"password": "' + raw + b'"}').decode(),
        "url": f"postgresql://app:{quote(secret, safe='')}@db/live",
        "url path": quote(secret),
        "url form": quote_plus(secret),
        "lower-case url": quote(secret, safe="").lower(),
        "json": json.dumps({"password": secret}),
        "json utf-8": json.dumps({"password": secret}, ensure_ascii=False),
        "repr": repr({"password": secret}),
        "hex": raw.hex(),
    }


def traces(secret: str) -> list[str]:
    """What must not be found: each coding itself, and for base64 the middle of it."""
    shown = []
    for name, text in codings(secret).items():
        if "base64" in name or "basic" in name:
            middle = base64.b64encode(secret.encode()).decode()[4:-6]
            shown.append(middle)
        elif name in {"plain", "url path", "url form", "hex"}:
            shown.append(text)
    return shown


@pytest.mark.parametrize("coding", codings(SECRET))
@pytest.mark.parametrize(
    "logger", ["", "freshet.intake", "prefect.flow_runs", "prefect.task_runs", "botocore"]
)
def test_no_coding_of_a_secret_passes_any_logger(written: io.StringIO, coding: str, logger: str) -> None:
    redaction.register("live-owner", SECRET)
    protect_logs()
    text = codings(SECRET)[coding]
    speaker = logging.getLogger(logger)
    speaker.warning(text.replace("%", "%%"))
    speaker.warning("said %s", text)
    speaker.warning("said %(what)r", {"what": [text]})
    speaker.warning("quiet", extra={"facts": {"inner": [text, (text, text.encode())]}})
    speaker.warning(RuntimeError(text))
    try:
        fail(text)
    except ValueError:
        speaker.exception("failed")
        speaker.warning("again", stack_info=True)
    shown = written.getvalue()
    assert shown.count("[secret live-owner]") >= 8
    assert text not in shown
    for trace in traces(SECRET):
        assert trace not in shown
    assert "Traceback" in shown


def test_without_protection_the_same_lines_show_it(written: io.StringIO) -> None:
    """So that the test above can fail."""
    redaction.register("live-owner", SECRET)
    logging.getLogger("freshet").warning("said %s", SECRET)
    assert SECRET in written.getvalue()


def test_handlers_configured_later_show_nothing_either() -> None:
    redaction.register("live-owner", SECRET)
    protect_logs()
    stream = io.StringIO()
    logger = logging.getLogger("prefect.later")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    try:
        logger.error("said %s", SECRET)
    finally:
        logger.removeHandler(handler)
    assert "[secret live-owner]" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_what_holds_no_secret_is_left_as_it_is(written: io.StringIO) -> None:
    redaction.register("live-owner", SECRET)
    protect_logs()
    records: list[logging.LogRecord] = []
    catcher = logging.Handler()
    catcher.emit = records.append  # type: ignore[method-assign,assignment]  # a handler that only keeps
    logging.root.addHandler(catcher)
    facts = {"rows": 7, "parts": (1, 2)}
    try:
        fail("plain")
    except ValueError:
        logging.getLogger("freshet").exception("copied %d rows", 7, extra={"facts": facts})
    finally:
        logging.root.removeHandler(catcher)
    (record,) = records
    assert (record.msg, record.args) == ("copied %d rows", (7,))
    assert record.exc_info is not None
    assert vars(record)["facts"] == facts


def test_a_wrong_log_call_neither_breaks_the_caller_nor_shows_the_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    redaction.register("live-owner", SECRET)
    protect_logs()
    # A logger of its own: pytest's handler turns wrong log calls into errors.
    alone = logging.Logger("alone")  # noqa: LOG001 - outside of the tree of loggers on purpose
    alone.addHandler(logging.StreamHandler())
    alone.warning("%d rows", SECRET)
    alone.warning("%s and %s", SECRET)
    shown = capsys.readouterr().err
    assert shown.count("[secret live-owner]") == 2
    assert SECRET not in shown


def test_an_uncaught_error_is_written_without_the_secret(capsys: pytest.CaptureFixture[str]) -> None:
    redaction.register("live-owner", SECRET)
    protect_logs()
    try:
        fail(f"password={SECRET}")
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)

    # pytest sets its own hook for threads, so ours is called as Python would call it.
    thread = threading.Thread(target=fail, args=[SECRET])
    threading.excepthook = redaction._thread_hook
    thread.start()
    thread.join()
    shown = capsys.readouterr().err
    assert shown.count("[secret live-owner]") >= 4
    assert "ValueError" in shown
    assert "OSError" in shown
    assert SECRET not in shown


def test_each_secret_is_named_and_the_longest_wins() -> None:
    redaction.register("short", "abcdefgh")
    redaction.register("long", "abcdefgh-ijklmnop")
    assert redact("x abcdefgh-ijklmnop abcdefgh y") == "x [secret long] [secret short] y"


def test_a_key_of_several_lines_is_found_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2EAAAADAQABAAABAQC7\nMIIEpAIBAAKCAQEAx1yz\n-----END KEY-----"
    redaction.register("host-key", key)
    shown = redact("-----BEGIN KEY-----\n> MIIEpAIBAAKCAQEAx1yz <")
    assert shown == "-----BEGIN KEY-----\n> [secret host-key] <"


def test_a_value_too_short_is_told_not_hidden(written: io.StringIO) -> None:
    redaction.register("pin", "1234")
    assert redact("1234") == "1234"
    assert "secret pin is too short" in written.getvalue()


def secret_file(folder: Path, name: str, value: bytes, mode: int = 0o600) -> None:
    (folder / name).write_bytes(value)
    (folder / name).chmod(mode)


def test_reading_a_secret_registers_it(tmp_path: Path) -> None:
    secret_file(tmp_path, "live-owner", b"tok3n-of-live\n")
    assert redact("tok3n-of-live") == "tok3n-of-live"
    value = SecretFiles(tmp_path).read(SecretName("live-owner"))
    assert value.get_secret_value() == "tok3n-of-live"
    assert redact("password=tok3n-of-live") == "password=[secret live-owner]"


def test_protecting_registers_what_only_children_read(tmp_path: Path) -> None:
    secret_file(tmp_path, "kinto-lakeside", b"tok3n-of-kinto")
    secret_file(tmp_path, "Not A Secret.txt", b"plain-text-here")
    secret_file(tmp_path, "open", b"open-to-everybody", 0o644)
    secret_file(tmp_path, "binary", b"\xff\xfe\xfd\xfc\xfb\xfa")
    (tmp_path / "folder").mkdir(mode=0o700)
    protect_logs(SecretFiles(tmp_path))
    assert redact("tok3n-of-kinto plain-text-here") == "[secret kinto-lakeside] plain-text-here"
    with pytest.raises(Unavailable, match="is not text"):
        SecretFiles(tmp_path).read(SecretName("binary"))


def test_protecting_twice_cleans_once() -> None:
    protect_logs()
    protect_logs()
    factory = logging.getLogRecordFactory()
    assert isinstance(factory, redaction._CleanRecords)
    assert not isinstance(factory._made, redaction._CleanRecords)
    assert sum(isinstance(known, redaction.Redactor) for known in logging.root.filters) == 1


def test_a_thousand_secrets_do_not_slow_logging_down() -> None:
    for number in range(1000):
        redaction.register(f"s{number}", f"value-of-secret-{number:06d}")
    text = "swapped lakeside/sandbox, 1234 rows in 0.4 s " * 4
    per_line = min(timeit.repeat(lambda: redact(text), timer=time.process_time, number=20, repeat=3)) / 20
    assert per_line < 0.01, f"{per_line * 1000:.1f} ms"
    assert "value-of" not in redact("x value-of-secret-000999 x")


def test_tracebacks_of_libraries_are_cleaned_as_texts() -> None:
    redaction.register("live-owner", SECRET)
    try:
        fail(f"postgresql://app:{quote(SECRET, safe='')}@db failed")
    except ValueError:
        text = redact(traceback.format_exc())
    assert "postgresql://app:[secret live-owner]@db failed" in text
