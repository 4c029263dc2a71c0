"""Text of others on its way to a terminal shows no secret."""

from __future__ import annotations

import pytest

from debugrun.core.know.masked import command_line, masked


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
