"""A file beside the estate's that says more of its servers, read at the door.

Invariant: it is accepted as a whole or refused with every finding; a finding names the place and never
repeats what stands there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from infra.plain_yaml import parse
from policy.errors import Refused

AnyShape = TypeVar("AnyShape", bound=BaseModel)


def read_declared(path: Path, shape: type[AnyShape]) -> AnyShape | None:
    """What the file at `path` declares, in its shape; None when there is no file.

    Raises:
        Refused: it cannot be read, or has mistakes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path.name} cannot be read: {type(error).__name__}") from error
    try:
        return shape.model_validate(parse(text, file=path.name))
    except ValidationError as error:
        raise Refused(
            *(
                f"{path.name}: {'.'.join(str(part) for part in finding['loc'])}: {finding['msg']}"
                for finding in error.errors(include_input=False, include_url=False, include_context=False)
            )
        ) from None
