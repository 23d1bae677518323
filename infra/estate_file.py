"""The door through which the estate comes in: one YAML file, checked as a whole.

Invariant: an `Estate` is returned only if nothing at all is wrong with the file; otherwise every mistake is
told at once, with its line, its place and its remedy.
"""

from __future__ import annotations

from pathlib import Path

from infra import estate_rules, estate_yaml
from infra.estate_build import Builder
from infra.estate_findings import Finding, Findings
from infra.estate_shape import HeadShape
from infra.estate_yaml import Document, YamlError
from policy.errors import Refused
from policy.estate import Estate

_PLAIN = frozenset({"estate", "undo_days", "concurrent_runs", "golden_every_hours", "golden_oldest_hours"})
"""What the top level says by itself; everything else in it is a section."""


def load_estate(path: Path) -> Estate:
    """The estate that the file at `path` declares.

    Raises:
        Refused: the file has mistakes; each is a finding with file, line, place and remedy.
    """
    estate, findings = check_estate(path)
    if estate is None:
        raise Refused(*(str(finding) for finding in findings))
    return estate


def check_estate(path: Path) -> tuple[Estate | None, tuple[Finding, ...]]:
    """The estate that the file at `path` declares, or None and everything that is wrong with it."""
    try:
        with path.open("rb") as file:
            # One byte more than allowed is enough to know.
            content = file.read(estate_yaml.LARGEST + 1)
        document = estate_yaml.read(content)
    except OSError as error:
        problem = f"the estate's file cannot be read ({error.strerror})"
        remedy = "run `freshet up` for the demo estate, or name yours in FRESHET_ESTATE"
        return None, (Finding(file=str(path), line=1, path="", problem=problem, remedy=remedy),)
    except YamlError as error:
        problem, _, remedy = str(error).partition("; ")
        finding = Finding(
            file=str(path), line=error.line, path="", problem=problem, remedy=remedy or "correct it"
        )
        return None, (finding,)
    findings = Findings(path, document)
    for repeated, line in document.repeated:
        findings.repeated(repeated, line)
    estate = _estate(document, findings, path.parent)
    return (None, tuple(sorted(findings.found))) if findings.found else (estate, ())


def _estate(document: Document, findings: Findings, folder: Path) -> Estate | None:
    head = findings.shape(HeadShape, document.value, ())
    if head is None:
        # The rest is still worth reading: what the top level got wrong is replaced by nothing.
        given = document.value if isinstance(document.value, dict) else {}
        head = _mended(given)
    builder = Builder(head, findings, folder)
    estate = builder.build()
    estate_rules.check(estate, builder.windows, findings)
    return estate


def _mended(given: dict[str, object]) -> HeadShape:
    """The top level without its own mistakes, which are reported already."""
    sections: dict[str, object] = {}
    for name, field in HeadShape.model_fields.items():
        wanted = list if name == "releases" else dict
        if name not in _PLAIN:
            value = given.get(name)
            sections[name] = value if isinstance(value, wanted) else wanted()
        elif not field.is_required():
            sections[name] = str(field.default)
    return HeadShape.model_validate({**sections, "estate": "unnamed"})
