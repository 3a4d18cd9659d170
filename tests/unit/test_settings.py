"""Settings: from the environment with the documented defaults; bad values name their variable."""

from pathlib import Path

import pytest

from currant.errors import SettingsError
from currant.settings import Settings, unknown_variables


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_environment({})

    assert settings == Settings()
    assert settings.worker_heartbeat_interval == 5
    assert settings.worker_heartbeat_timeout == 30
    assert settings.worker_poll_interval == 1
    assert settings.worker_max_concurrent == 10
    assert settings.default_timeout == 300
    assert settings.default_workflow_timeout == 3600
    assert settings.default_retries == 3
    assert settings.database_url is None


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        {
            "CURRANT_DATABASE_URL": "postgresql://localhost/currant",
            "CURRANT_DATABASE_LISTEN_URL": "off",
            "CURRANT_DATABASE_PREPARE": "false",
            "CURRANT_HOME": "/var/lib/currant",
            "CURRANT_APP": "shop.app",
            "CURRANT_WORKER_HEARTBEAT_INTERVAL": "2.5",
            "CURRANT_WORKER_HEARTBEAT_TIMEOUT": "10",
            "CURRANT_WORKER_MAX_CONCURRENT": "50",
            "CURRANT_WORKER_WORKFLOW_CACHE": "0",
            "CURRANT_DEFAULT_RETRIES": "0",
        }
    )

    assert settings.database_url == "postgresql://localhost/currant"
    assert settings.database_listen_url == "off"
    assert settings.database_prepare is False
    assert settings.home == Path("/var/lib/currant")
    assert settings.app == "shop.app"
    assert settings.worker_heartbeat_interval == 2.5
    assert settings.worker_max_concurrent == 50
    assert isinstance(settings.worker_max_concurrent, int)
    assert settings.worker_workflow_cache == 0
    assert settings.default_retries == 0


def test_an_empty_variable_counts_as_not_set() -> None:
    settings = Settings.from_environment({"CURRANT_DATABASE_URL": " ", "CURRANT_APP": ""})

    assert settings == Settings()


def test_overrides_come_first_and_none_is_no_override() -> None:
    settings = Settings.from_environment(
        {"CURRANT_WORKER_MAX_CONCURRENT": "50", "CURRANT_APP": "shop"},
        worker_max_concurrent=7,
        app=None,
    )

    assert (settings.worker_max_concurrent, settings.app) == (7, "shop")


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRANT_APP", "shop")

    assert Settings.from_environment().app == "shop"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CURRANT_WORKER_HEARTBEAT_INTERVAL", "soon"),
        ("CURRANT_WORKER_HEARTBEAT_INTERVAL", "0"),
        ("CURRANT_WORKER_HEARTBEAT_INTERVAL", "nan"),
        ("CURRANT_WORKER_HEARTBEAT_INTERVAL", "inf"),
        ("CURRANT_WORKER_POLL_INTERVAL", "-1"),
        ("CURRANT_WORKER_MAX_CONCURRENT", "2.5"),
        ("CURRANT_WORKER_MAX_CONCURRENT", "0"),
        ("CURRANT_WORKER_WORKFLOW_CACHE", "-1"),
        ("CURRANT_DEFAULT_RETRIES", "-1"),
        ("CURRANT_DEFAULT_TIMEOUT", "0"),
        ("CURRANT_DATABASE_PREPARE", "perhaps"),
        ("CURRANT_WORKER_HEARTBEAT_TIMEOUT", "9.9"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        Settings.from_environment({variable: value})


def test_a_heartbeat_timeout_below_twice_the_interval_is_refused() -> None:
    with pytest.raises(SettingsError, match="CURRANT_WORKER_HEARTBEAT_TIMEOUT is 5, less than"):
        Settings(worker_heartbeat_interval=3, worker_heartbeat_timeout=5)


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(SettingsError, match="unknown setting colour"):
        Settings.from_environment({}, colour="red")


def test_a_text_setting_of_another_type_is_refused() -> None:
    with pytest.raises(SettingsError, match="CURRANT_APP has to be text"):
        Settings.from_environment({}, app=3)


@pytest.mark.parametrize(("word", "value"), [("TRUE", True), ("on", True), ("0", False)])
def test_flags_take_the_usual_words(word: str, value: bool) -> None:
    assert Settings.from_environment({"CURRANT_DATABASE_PREPARE": word}).database_prepare is value


def test_misspelt_variables_are_found() -> None:
    environ = {"CURRANT_WORKER_POLL_INTERVALL": "3", "CURRANT_HOME": "/x", "HOME": "/y"}

    assert unknown_variables(environ) == ["CURRANT_WORKER_POLL_INTERVALL"]
