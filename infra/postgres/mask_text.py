"""The transformers as SQL over a text value.

Invariant: PostgreSQL's own functions only; the customer's key is read by `current_setting('freshet.key')`,
which fails when it is not set; equal texts under the same transformer and key give equal results, and NULL
stays NULL.

The hash is SHA-256 over a key and the value: one a value, whatever is made of it. The key is one of the
transformer's own, 128 bits made of the customer's key once for a statement; it is short, so that most values
fit into a single block of the hash with it. No `%` stands in these texts, because a driver that binds
parameters would take it for a placeholder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from psycopg.sql import SQL, Composable, Composed, Literal

from infra.postgres.mask_words import FAMILY_NAMES, FILLER, GIVEN_NAMES, STREETS
from policy.masks import Mask
from policy.protection import MaskWith, Others

# A sub-select of its own is computed once for a statement, not once for a value.
_KEY = SQL(
    "(SELECT encode(substr(sha256(convert_to("
    "current_setting('freshet.key') || {label}, 'UTF8')), 1, 16), 'base64'))"
)
_DIGEST = SQL("sha256(convert_to({key} || {value}, 'UTF8'))")
_N = SQL("n")
_BYTE = 256


def text_expression(text: Composable, rule: MaskWith, *, length: int | None = None) -> Composable:
    """The masked form of the text `text` as text, at most `length` characters long."""
    if not rule.after:
        return _spared(text, text, _made(text, rule, length), rule.spare)
    rest = SQL("substr({text}, {start})").format(text=text, start=Literal(len(rule.after) + 1))
    room = None if length is None else max(1, length - len(rule.after))
    masked = SQL("{prefix} || {rest}").format(prefix=Literal(rule.after), rest=_made(rest, rule, room))
    return SQL("CASE WHEN starts_with({text}, {prefix}) THEN {masked} ELSE {other} END").format(
        text=text,
        prefix=Literal(rule.after),
        masked=_spared(text, rest, masked, rule.spare),
        other=text if rule.others is Others.KEEP else _made(text, rule, length),
    )


def digest(text: Composable, mask: Mask) -> Composed:
    """32 bytes that depend on the key, the transformer and the text."""
    return _DIGEST.format(key=_KEY.format(label=Literal(f":{mask}")), value=text)


def hexadecimal(text: Composable, mask: Mask, count: int) -> Composable:
    """The first `count` hexadecimal digits of the digest, at most 64."""
    whole = SQL("encode(substr({}, 1, {}), 'hex')").format(digest(text, mask), Literal((count + 1) // 2))
    return whole if count % 2 == 0 else SQL("left({}, {})").format(whole, Literal(count))


def integer(text: Composable, mask: Mask) -> Composed:
    """56 bits of the digest, never negative."""
    return SQL("('x' || {})::bit(56)::bigint").format(hexadecimal(text, mask, 14))


def number(text: Composable, rule: MaskWith) -> Composed:
    """A whole number of the rule's range."""
    return SQL("({low} + mod({integer}, {size}))").format(
        low=Literal(rule.low), integer=integer(text, rule.mask), size=Literal(rule.high - rule.low + 1)
    )


def uuid(text: Composable) -> Composed:
    """A UUID that has the form of a random one; 122 bits of the hash."""
    return SQL("overlay(overlay({} PLACING '4' FROM 13 FOR 1) PLACING 'a' FROM 17 FOR 1)::uuid").format(
        hexadecimal(text, Mask.UUID, 32)
    )


def ip_address(text: Composable) -> Composed:
    """An address of 2001:db8::/32, the range set aside for documentation; 96 bits of the hash."""
    groups = SQL(" || ':' || ").join(SQL("substr(n, {}, 4)").format(start) for start in range(1, 25, 4))
    return _once(hexadecimal(text, Mask.IP_ADDRESS, 24), SQL("'2001:db8:' || {}").format(groups))


def fixed(value: Composable, rule: MaskWith) -> Composed:
    """The rule's value wherever there was one."""
    return SQL("CASE WHEN {value} IS NOT NULL THEN {fixed} END").format(
        value=value, fixed=Literal(rule.value)
    )


def _spared(whole: Composable, part: Composable, masked: Composable, spare: Sequence[str]) -> Composable:
    if not spare:
        return masked
    listed = SQL(", ").join(Literal(value) for value in spare)
    return SQL("CASE WHEN {part} IN ({listed}) THEN {whole} ELSE {masked} END").format(
        part=part, listed=listed, whole=whole, masked=masked
    )


def _made(text: Composable, rule: MaskWith, length: int | None) -> Composable:
    made = _MAKERS[rule.mask](text, rule, length)
    return made if length is None else SQL("left({}, {})").format(made, Literal(length))


def _email(text: Composable, rule: MaskWith, length: int | None) -> Composable:
    room = 20 if length is None else max(1, min(20, length - len(rule.domain) - 2))
    return SQL("'u' || {digits} || {domain}").format(
        digits=hexadecimal(text, rule.mask, room), domain=Literal("@" + rule.domain)
    )


def _token(text: Composable, rule: MaskWith, length: int | None) -> Composable:
    return hexadecimal(text, rule.mask, min(32, length or 32))


def _pattern(text: Composable, rule: MaskWith, _length: int | None) -> Composable:
    made: Composable = SQL("lpad(mod({n}, {size})::text, {count}, '0')").format(
        n=integer(text, rule.mask), size=Literal(10 ** rule.like.count("#")), count=rule.like.count("#")
    )
    place = 1
    for run in re.findall(r"#+|[^#]+", rule.like):
        if not run.startswith("#"):
            made = SQL("overlay({} PLACING {} FROM {} FOR 0)").format(made, Literal(run), Literal(place))
        place += len(run)
    return made


def _given_name(text: Composable, rule: MaskWith, _length: int | None) -> Composable:
    return _word(GIVEN_NAMES, digest(text, rule.mask), byte=0)


def _family_name(text: Composable, rule: MaskWith, _length: int | None) -> Composable:
    return _word(FAMILY_NAMES, digest(text, rule.mask), byte=0)


def _full_name(text: Composable, rule: MaskWith, _length: int | None) -> Composable:
    use = SQL("{} || ' ' || {}").format(_word(GIVEN_NAMES, _N, byte=0), _word(FAMILY_NAMES, _N, byte=1))
    return _once(digest(text, rule.mask), use)


def _street(text: Composable, rule: MaskWith, _length: int | None) -> Composable:
    use = SQL("(1 + mod(get_byte(n, 1) * 256 + get_byte(n, 2), 199))::text || ' ' || {} || ' Street'").format(
        _word(STREETS, _N, byte=0)
    )
    return _once(digest(text, rule.mask), use)


def _free_text(text: Composable, _rule: MaskWith, _length: int | None) -> Composable:
    return SQL("left(repeat({filler}, 1 + length({text}) / {size}), length({text}))").format(
        filler=Literal(FILLER), text=text, size=Literal(len(FILLER))
    )


def _date_text(text: Composable, rule: MaskWith, _length: int | None) -> Composable:
    """A date as ISO text; what does not begin like one becomes NULL."""
    return SQL(
        "CASE WHEN {text} ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}' THEN left({text}, 5) || "
        "to_char(date '2001-01-01' + mod({n}, 365)::integer, 'MM-DD') END"
    ).format(text=text, n=integer(SQL("left({}, 10)").format(text), rule.mask))


def _number_text(text: Composable, rule: MaskWith, _length: int | None) -> Composable:
    return SQL("{}::text").format(number(text, rule))


def _uuid_text(text: Composable, _rule: MaskWith, _length: int | None) -> Composable:
    return SQL("{}::text").format(uuid(text))


def _ip_text(text: Composable, _rule: MaskWith, _length: int | None) -> Composable:
    return ip_address(text)


def _fixed_text(text: Composable, rule: MaskWith, _length: int | None) -> Composable:
    return fixed(text, rule)


def _once(n: Composable, use: Composable) -> Composed:
    """`use` of `n`, where n is computed once; OFFSET 0 keeps the planner from putting it in twice."""
    return SQL("(SELECT {use} FROM (SELECT {n} AS n OFFSET 0) AS once)").format(use=use, n=n)


def _word(words: Sequence[str], n: Composable, *, byte: int) -> Composed:
    """The word that a byte of the digest `n` picks, each as often as any other."""
    if _BYTE % len(words):
        raise ValueError(f"{len(words)} words are not equally often in a byte")
    # A jsonb array finds its n-th element in constant time; an array of text walks to it.
    return SQL("({words}::jsonb ->> mod(get_byte({n}, {byte}), {count}))").format(
        words=Literal(json.dumps(words)), n=n, byte=Literal(byte), count=Literal(len(words))
    )


_MAKERS: dict[Mask, Callable[[Composable, MaskWith, int | None], Composable]] = {
    Mask.EMAIL: _email,
    Mask.PHONE: _pattern,
    Mask.POSTCODE: _pattern,
    Mask.DATE_WITHIN_YEAR: _date_text,
    Mask.GIVEN_NAME: _given_name,
    Mask.FAMILY_NAME: _family_name,
    Mask.FULL_NAME: _full_name,
    Mask.STREET: _street,
    Mask.FREE_TEXT: _free_text,
    Mask.NUMBER: _number_text,
    Mask.UUID: _uuid_text,
    Mask.TOKEN: _token,
    Mask.IP_ADDRESS: _ip_text,
    Mask.FIXED: _fixed_text,
}
