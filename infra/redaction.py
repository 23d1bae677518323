"""Keeps the values of secrets out of logs, error texts and tracebacks, whatever route they take.

Invariant: a value that was registered leaves this process through no log record in plain, base64, URL-quoted,
JSON, HTML or hexadecimal form. Values are registered where they are read (`infra.secrets`) and, for what only
child processes read, all at once by `protect_logs`. The net is the second line: secrets are not logged on
purpose anywhere.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote, quote_plus

SHORTEST = 6
"""A shorter value is not looked for: it would blot out ordinary words. Secrets are made longer than this."""
_SHORTEST_ENCODED = 8
_SHORTEST_LINE = 12
"""A key of several lines may be logged line by line; its shorter lines say nothing."""
_DEEPEST = 6

log = logging.getLogger("freshet.redaction")


class Registry:
    """The forms in which known secrets could show, longest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._marks: dict[str, str] = {}
        self._longest_first: tuple[tuple[str, str], ...] | None = ()

    def register(self, name: str, value: str) -> None:
        """Redact `value` from now on; what is shown instead names the secret."""
        if len(value.strip()) < SHORTEST:
            log.warning("secret %s is too short to be kept out of logs; give it a longer value", name)
            return
        lines = [line for line in value.splitlines() if len(line) >= _SHORTEST_LINE and line[:5] != "-----"]
        with self._lock:
            new = [part for part in dict.fromkeys((value, *lines)) if part not in self._values]
            if not new:
                return
            self._values.update(new)
            for part in new:
                self._marks |= dict.fromkeys(_forms(part), f"[secret {name}]")
            self._longest_first = None

    def redact(self, text: str) -> str:
        """`text` without any registered secret."""
        forms = self._longest_first
        if forms is None:
            with self._lock:
                forms = tuple(sorted(self._marks.items(), key=lambda item: (-len(item[0]), item[0])))
                self._longest_first = forms
        for form, mark in forms:
            if form in text:
                text = text.replace(form, mark)
        return text


def _forms(value: str) -> set[str]:
    raw = value.encode("utf-8", "surrogateescape")
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    forms = {
        value,
        *quoted,
        *(form.lower() for form in quoted),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
        html.escape(value, quote=False),
        raw.hex(),
        raw.hex().upper(),
    }
    # Inside a longer text (as "user:password" is) a value's base64 depends on where among three bytes it
    # begins; the characters that depend on its neighbours are left out.
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw).decode()
        lead = -(-shift * 8 // 6)
        whole = (shift + len(raw)) * 8 // 6
        core = encoded[lead:whole]
        if len(core) >= _SHORTEST_ENCODED:
            forms |= {core, core.replace("+", "-").replace("/", "_")}
    forms.add(base64.b64encode(raw).decode())
    forms.add(base64.urlsafe_b64encode(raw).decode())
    return forms


_KNOWN = Registry()


def register(name: str, value: str) -> None:
    """Redact `value` in everything that this process logs from now on."""
    _KNOWN.register(name, value)


def redact(text: str) -> str:
    """`text` without any secret that this process knows; for texts that leave by other ways than a log."""
    return _KNOWN.redact(text)


def redacted(value: object) -> object:
    """`value` without any secret that this process knows, also inside mappings and lists."""
    return _cleaned(value, depth=0)


class Redactor(logging.Filter):
    """Cleans a record's text, arguments, traceback and extra fields; it never holds a record back."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean `record` in place."""
        clean(record)
        return True


def clean(record: logging.LogRecord) -> None:
    """Take every known secret out of `record`; a record without one stays as it is."""
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - a wrong log call is reported by the handler, with the cleaned arguments
        record.msg, message = _cleaned(record.msg, depth=0), ""
        record.args = _cleaned(record.args, depth=0)  # type: ignore[assignment]  # a tuple or a mapping, as it was
    if redact(message) != message:
        record.msg, record.args = redact(message), None
    elif isinstance(record.msg, str) and redact(record.msg) != record.msg:
        record.msg = redact(record.msg)
    if record.exc_info and record.exc_info[0] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if redact(text) != text:
            # Some handlers format the exception themselves; without it they can only take the clean text.
            record.exc_info, record.exc_text = None, redact(text)
    if record.exc_text:
        record.exc_text = redact(record.exc_text)
    if record.stack_info:
        record.stack_info = redact(record.stack_info)
    for name in set(record.__dict__) - _STANDARD:
        record.__dict__[name] = _cleaned(record.__dict__[name], depth=0)


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


def _cleaned(value: object, *, depth: int) -> object:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "replace")) if redact(repr(value)) != repr(value) else value
    if depth < _DEEPEST and isinstance(value, dict):
        return {
            _cleaned(key, depth=depth + 1): _cleaned(inner, depth=depth + 1) for key, inner in value.items()
        }
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        inner = [_cleaned(item, depth=depth + 1) for item in value]
        # A named tuple cannot be built from a list; it becomes a plain one only when it held a secret.
        return value if inner == list(value) else tuple(inner) if isinstance(value, tuple) else inner
    shown = str(value) if isinstance(value, BaseException) else ""
    return redact(shown) if redact(shown) != shown else value


class Secrets(Protocol):
    """Where secrets are kept."""

    def register_all(self) -> None:
        """Register every secret that this process may read."""
        ...


def protect_logs(secrets: Secrets | None = None) -> None:
    """Redact every log record of this process from now on, on all loggers, and uncaught errors as well.

    Records are cleaned when they are made, so that loggers, handlers and levels configured later (Prefect
    sets up its own when a flow begins) make no difference; a filter on the root and Prefect handlers of the
    moment cleans the extra fields, which a record gets only after it was made. Calling it again is harmless.

    Args:
        secrets: registers what it holds, so that values which only child processes read are known too.
    """
    if secrets is not None:
        secrets.register_all()
    with _INSTALLING:
        made = logging.getLogRecordFactory()
        if not isinstance(made, _CleanRecords):
            logging.setLogRecordFactory(_CleanRecords(made))
        for logger in _loggers():
            for place in (logger, *logger.handlers):
                if not any(isinstance(known, Redactor) for known in place.filters):
                    place.addFilter(Redactor())
        if not isinstance(sys.excepthook, _CleanHook):
            sys.excepthook = _CleanHook()
        threading.excepthook = _thread_hook


_INSTALLING = threading.Lock()


def _loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict
    prefect = [
        logger
        for name, logger in known.items()
        if isinstance(logger, logging.Logger) and name.partition(".")[0] == "prefect"
    ]
    return [logging.root, *prefect]


class _CleanRecords:
    """A record factory that cleans what another one makes."""

    def __init__(self, made: Any) -> None:  # noqa: ANN401 - logging types its factories so
        self._made = made

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401 - logging types its factories so
        record: logging.LogRecord = self._made(*args, **kwargs)
        clean(record)
        return record


class _CleanHook:
    """Writes an uncaught error to stderr without secrets."""

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _thread_hook(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_type is not SystemExit and failed.exc_value is not None:
        _CleanHook()(failed.exc_type, failed.exc_value, failed.exc_traceback)
