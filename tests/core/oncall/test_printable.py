"""Text of others on its way to a terminal: it moves no cursor and shows no secret."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debugrun.core.oncall.printable import command_line, masked, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\x0ab"),
        ("\x9b31m", "\\x9b31m"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}txt.exe", "\\u202etxt.exe"),
        (b"\xff".decode(errors="surrogateescape"), "\\xff"),
    ],
)
def test_what_a_terminal_acts_on_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_nothing_that_moves_a_cursor_is_left(text: str) -> None:
    assert {unicodedata.category(each) for each in printable(text)}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["mysqld", "--password=hunter2", "-v"], "mysqld --password=*** -v"),
        (["app", "--api-key", "hunter2", "--port", "80"], "app --api-key *** --port 80"),
        (["app", "--token", "--port", "80"], "app --token --port 80"),
        (["env", "DB_PASSWORD=hunter2", "app"], "env DB_PASSWORD=*** app"),
        (["app", "postgres://shop:hunter2@db/shop"], "app postgres://shop:***@db/shop"),
        (["curl", "-H", "Authorization: Bearer hunter2hunter2"], "curl -H Authorization: ***"),
        (["python3", "-c", 'connect(password="hunter2")'], "python3 -c connect(password=***)"),
        (["app", "ghp_hunter2hunter2hunter2hunter2hunter2"], "app ***"),
    ],
)
def test_secrets_of_a_command_line_are_masked(words: list[str], shown: str) -> None:
    found = command_line(words)
    assert "hunter2" not in found
    assert found.startswith(shown[: shown.index("***")] if "***" in shown else shown)


def test_a_log_line_keeps_what_is_no_secret() -> None:
    assert (
        masked("connected to redis://:hunter2@cache:6379/0 in 3 ms") == "connected to redis://:***@cache:6379/0 in 3 ms"
    )
