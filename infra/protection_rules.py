"""How a rule is written in `protection.yml`, and what it is read as.

Invariant: a rule that is read is complete: its transformer exists, its options belong to it, nothing is
guessed. An empty value is a mistake, not a NULL.

    keep | 'null' | <transformer>                     one word
    {mask: <transformer>, after: …, except: […], …}   a transformer with options
    {json: {key: <rule>, …}, others: drop|keep}       a JSON object whose known keys are named
    {each: <rule>}                                    every element of an array
    [{when: <SQL>, …one of the above…}, …, <rule>]    by row; the last has no `when` and is for all others
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policy.errors import Refused
from policy.masks import DEFAULT_DOMAIN, DEFAULT_PATTERNS, DOMAIN, PATTERN, Mask
from policy.protection import Case, Cases, Each, JsonKeys, Keep, MaskWith, Others, Rule, SetNull

_MOST_DIGITS = 15
_WORDS = "keep, 'null' in quotes, or one of " + ", ".join(Mask)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


class Findings:
    """Collects the mistakes of one file.

    Args:
        file: how messages call it.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[str] = []

    def add(self, place: str, problem: str) -> None:
        """Note one mistake."""
        self.found.append(f"{self.file}: {place}: {problem}")

    def refuse_if_any(self) -> None:
        """Tell all of them.

        Raises:
            Refused: there are some.
        """
        if self.found:
            raise Refused(*self.found)


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, populate_by_name=True)

    mask: str
    after: str = ""
    spare: list[str] = Field(default_factory=list, alias="except")
    others: str = Field(default="mask", pattern="^(mask|keep)$")
    like: str = ""
    domain: str = ""
    low: int | None = Field(default=None, alias="from", ge=-(2**62), le=2**62)
    high: int | None = Field(default=None, alias="to", ge=-(2**62), le=2**62)
    value: str | None = None


def rule_of(written: object, findings: Findings, place: str) -> Rule:
    """The rule that `written` means; mistakes go to `findings`, and the result then blanks the value."""
    if isinstance(written, str):
        return _word(written, findings, place)
    if isinstance(written, list):
        return _cases(written, findings, place)
    if isinstance(written, dict):
        if "json" in written:
            return _json(written, findings, place)
        if "each" in written:
            if set(written) != {"each"}:
                findings.add(place, "beside `each` nothing else may stand")
            return Each(rule=rule_of(written["each"], findings, f"{place}.each"))
        if "mask" in written:
            return _mask(written, findings, place)
    findings.add(place, f"write {_WORDS}; or a mapping with `mask`, `json` or `each`; or a list of cases")
    return SetNull()


def _word(word: str, findings: Findings, place: str) -> Rule:
    if word == "keep":
        return Keep()
    if word == "null":
        return SetNull()
    return _mask({"mask": word}, findings, place)


def _mask(written: Mapping[object, object], findings: Findings, place: str) -> Rule:
    try:
        options = _Options.model_validate(written)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            where = ".".join(_printable(str(part)[:40]) for part in problem["loc"])
            findings.add(f"{place}.{where}", problem["msg"])
        return SetNull()
    if options.mask not in set(Mask):
        findings.add(place, f"there is no such transformer; write {_WORDS}")
        return SetNull()
    mask = Mask(options.mask)
    before = len(findings.found)
    _check_options(mask, options, findings, place)
    if len(findings.found) > before:
        return SetNull()
    return MaskWith(
        mask=mask,
        after=options.after,
        spare=tuple(options.spare),
        others=Others(options.others),
        like=options.like or DEFAULT_PATTERNS.get(mask, ""),
        domain=options.domain or (DEFAULT_DOMAIN if mask is Mask.EMAIL else ""),
        low=options.low or 0,
        high=options.high or 0,
        value=options.value or "",
    )


def _check_options(mask: Mask, options: _Options, findings: Findings, place: str) -> None:
    belongs = {
        "like": mask in DEFAULT_PATTERNS,
        "domain": mask is Mask.EMAIL,
        "low": mask is Mask.NUMBER,
        "high": mask is Mask.NUMBER,
        "value": mask is Mask.FIXED,
    }
    given = options.model_fields_set
    for name in sorted(given & set(belongs)):
        if not belongs[name]:
            findings.add(place, f"`{_Options.model_fields[name].alias or name}` does not belong to {mask}")
    if options.like and (not PATTERN.fullmatch(options.like) or options.like.count("#") > _MOST_DIGITS):
        findings.add(
            place, "`like` takes 1 to 15 #, letters, digits, blanks and + ( ) / . -, at most 40 in all"
        )
    if options.domain and not DOMAIN.fullmatch(options.domain):
        findings.add(place, "`domain` is a host name such as example.org")
    if "others" in given and not options.after:
        findings.add(place, "`others` needs `after`: it is about values without the prefix")
    if mask is Mask.NUMBER and (options.low is None or options.high is None or options.low > options.high):
        findings.add(place, "number needs `from` and `to`, the least and the greatest value")
    if mask is Mask.FIXED and options.value is None:
        findings.add(place, "fixed needs `value`, as text")


def _json(written: Mapping[object, object], findings: Findings, place: str) -> Rule:
    keys, others = written["json"], written.get("others", "drop")
    if set(written) - {"json", "others"}:
        findings.add(place, "beside `json` only `others` may stand")
    if others not in {"drop", "keep"}:
        findings.add(f"{place}.others", "write drop or keep")
    if not isinstance(keys, dict):
        findings.add(f"{place}.json", "name the known keys with a rule each")
        return SetNull()
    return JsonKeys(
        keys={key: _json_rule(rule, findings, f"{place}.json.{key[:60]}") for key, rule in keys.items()},
        others=Others.KEEP if others == "keep" else Others.DROP,
    )


def _json_rule(written: object, findings: Findings, place: str) -> Rule:
    if isinstance(written, list):
        findings.add(place, "cases are for whole columns; use `after`, `except` and `others` inside JSON")
        return SetNull()
    return rule_of(written, findings, place)


def _cases(written: list[object], findings: Findings, place: str) -> Rule:
    cases: list[Case] = []
    otherwise: Rule | None = None
    for n, entry in enumerate(written):
        last = n == len(written) - 1
        if isinstance(entry, dict) and "when" in entry:
            condition = entry["when"]
            rest = {key: value for key, value in entry.items() if key != "when"}
            rule = rest.pop("take") if set(rest) == {"take"} else rest
            if not isinstance(condition, str) or not condition.strip():
                findings.add(f"{place}.{n}.when", "write an SQL condition over the row")
            else:
                cases.append(Case(when=condition, rule=_json_rule(rule, findings, f"{place}.{n}")))
            if last:
                findings.add(
                    f"{place}.{n}", "the last entry stands for all other rows: write it without `when`"
                )
        elif last and cases:
            otherwise = _json_rule(entry, findings, f"{place}.{n}")
        else:
            findings.add(f"{place}.{n}", "each entry but the last needs `when`")
    if not written:
        findings.add(place, "each entry but the last needs `when`; here is none")
    return Cases(cases=tuple(cases), otherwise=otherwise or SetNull())


__all__ = ["Findings", "Refused", "rule_of"]
