"""Senders and addresses as settings: checked where they are read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from infra.settings import SenderSetting, Settings
from policy.names import EmailAddress
from policy.sender import Sender


def test_senders_and_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "FRESHET_SENDERS", '{"AIDA1": {"contact": "ann@x.org"}, "AROA2": {"speaks_for_others": true}}'
    )
    monkeypatch.setenv("FRESHET_MAIL_FROM", "updates@x.org")
    monkeypatch.setenv("FRESHET_SMTP_SECRET", "mail")
    found = Settings()
    assert found.mail_from == "updates@x.org"
    assert found.smtp_secret == "mail"
    assert found.known_senders["AROA2"] == Sender(contact=None, speaks_for_others=True)
    assert found.known_senders["AIDA1"].contact == "ann@x.org"
    assert not found.known_senders["AIDA1"].speaks_for_others


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FRESHET_SENDERS", '{"A": {"contact": "ann"}}'),
        ("FRESHET_SENDERS", '{"A": {"speaks_for_other": true}}'),
        ("FRESHET_MAIL_FROM", "a@b.org\nBcc: c@d.org"),
        ("FRESHET_ON_CALL", "nobody"),
        ("FRESHET_SMTP_SECRET", "../ledger"),
        ("FRESHET_ON_CALL_WEBHOOK", "https://chat.example.org/hooks/T0ken"),
        ("FRESHET_SMTP_SECURITY", "maybe"),
    ],
)
def test_what_is_no_sender_or_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert name.removeprefix("FRESHET_").lower() in str(caught.value)
    if "SECRET" in name or "WEBHOOK" in name:
        assert value not in str(caught.value)


def test_settings_can_be_a_key() -> None:
    one = Settings(senders={"AIDA1": SenderSetting(contact=EmailAddress("ann@x.org"))})
    same = Settings(senders={"AIDA1": SenderSetting(contact=EmailAddress("ann@x.org"))})
    assert {one: 1}[same] == 1
    assert Settings() not in {one: 1}
