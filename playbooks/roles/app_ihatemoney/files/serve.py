"""Serve the application, and let it tell its version, which it does not do by itself."""

import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

from ihatemoney.wsgi import application
from waitress import serve


def telling(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The application, with one header more."""

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return start_response(status, [*headers, ("X-Application-Version", version("ihatemoney"))], exc_info)

    return application(environ, start)


serve(telling, host=sys.argv[1], port=int(sys.argv[2]), threads=8)
