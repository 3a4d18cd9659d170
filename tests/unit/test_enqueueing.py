"""The options of a call, and the calls of the database that they make."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

import currant
from currant import task, workflow
from currant.definitions import registry
from currant.errors import EncodingError, InvalidArgument, OptionError
from currant.settings import Settings

ID = UUID(int=9)
URL = "postgresql://nowhere.invalid/x"


@pytest.fixture(autouse=True)
def _own_registry_and_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_functions", {})
    monkeypatch.setenv("CURRANT_DATABASE_URL", URL)
    yield
    currant.configure()
    currant.defaults._defaults.close()


@task(name="mail", queue="emails", retries=1, timeout=5)
async def mail(to: str) -> None: ...


@workflow(name="order", queue="orders", version=3)
async def order(id: int) -> int:  # noqa: A002
    return id


def sent(function: Any, settings: Settings | None = None) -> dict[str, Any]:
    """The options that an enqueue sends, without an id made for it."""
    call = function._enqueueing.one("{}", settings or Settings())
    options: dict[str, Any] = json.loads(call.params[2])
    if options["id"] != str(ID):
        del options["id"]
    return options


def test_options_give_a_copy() -> None:
    urgent = mail.options(queue="urgent", priority=10)

    assert urgent is not mail
    assert urgent.name == "mail"
    assert sent(urgent)["queue"] == "urgent"
    assert sent(mail)["queue"] == "emails"
    assert sent(urgent.options(delay=1))["queue"] == "urgent"


def test_what_is_sent_comes_from_call_declaration_and_settings() -> None:
    settings = Settings(default_retries=7, default_timeout=70, default_workflow_timeout=700)

    assert sent(mail.options(retries=0), settings) == {
        "kind": "task",
        "version": 1,
        "queue": "emails",
        "retries": 0,
        "timeout": 5.0,
    }
    assert sent(order, settings) == {
        "kind": "workflow",
        "version": 3,
        "queue": "orders",
        "timeout": 700,
    }


def test_every_option_is_sent_as_json_takes_it() -> None:
    chosen = mail.options(
        priority=3,
        timeout=timedelta(minutes=2),
        delay=timedelta(hours=1),
        key="k",
        key_scope="open",
        id=ID,
        version=4,
        headers={"trace": ["a", 1]},
        retry_delay=0,
        retry_backoff=3,
        retry_max_delay=9,
    )

    assert sent(chosen) == {
        "kind": "task",
        "queue": "emails",
        "retries": 1,
        "priority": 3,
        "timeout": 120.0,
        "delay": 3600.0,
        "key": "k",
        "key_scope": "open",
        "id": str(ID),
        "version": 4,
        "headers": {"trace": ["a", 1]},
        "retry_delay": 0.0,
        "retry_backoff": 3.0,
        "retry_max_delay": 9.0,
    }


def test_run_at_is_sent_with_its_offset() -> None:
    moment = datetime(2026, 1, 31, 8, tzinfo=UTC)

    assert sent(mail.options(run_at=moment))["run_at"] == "2026-01-31T08:00:00+00:00"


def test_where_a_call_goes_is_not_sent_along() -> None:
    chosen = mail.options(client=object())

    assert sent(chosen) == sent(mail)


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        OptionError, match=r"mail\.options\(\) has no option 'quue' \(known .*queue"
    ):
        mail.options(quue="x")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"queue": 3}, "a text"),
        ({"priority": "10"}, "a whole number"),
        ({"timeout": -1}, "seconds over 0"),
        ({"delay": -1}, "seconds from 0"),
        ({"run_at": "2026-01-31"}, "a datetime"),
        ({"run_at": datetime(2026, 1, 31)}, "a datetime with a time zone"),  # noqa: DTZ001
        ({"id": "7"}, "a UUID"),
        ({"id": 7}, "a UUID"),
        ({"key": ""}, "a text"),
        ({"key_scope": "sometimes"}, "'always' or 'open'"),
        ({"key_scope": ["open"]}, "'always' or 'open'"),
        ({"headers": [1]}, "a mapping"),
        ({"headers": {1: 2}}, "a mapping"),
        ({"version": 0}, "a whole number"),
        ({"queue": None}, "a text"),
    ],
    ids=str,
)
def test_a_wrong_value_of_an_option_is_refused_by_name(
    options: dict[str, Any], wanted: str
) -> None:
    name = next(iter(options))

    with pytest.raises(
        OptionError, match=rf"option {name} of mail\.options\(\) has to be {wanted}"
    ):
        mail.options(**options)


def test_headers_that_are_no_json_are_refused() -> None:
    with pytest.raises(EncodingError, match="option headers cannot be sent"):
        mail.options(headers={"a": object()})


def test_options_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(OptionError, match="delay and run_at"):
        mail.options(delay=1).options(run_at=datetime.now(UTC))
    with pytest.raises(OptionError, match="client and connection"):
        mail.options(client=object(), connection=object())


def test_a_workflow_cannot_be_given_retries() -> None:
    with pytest.raises(OptionError, match=r"order\.options\(\) has no option 'retries'"):
        order.options(retries=1)


def test_a_task_cannot_be_given_what_is_for_workflows() -> None:
    with pytest.raises(OptionError, match=r"mail\.options\(\) has no option 'on_parent_end'"):
        mail.options(on_parent_end="abandon")
    with pytest.raises(OptionError, match=r"mail\.options\(\) has no option 'signal_key'"):
        mail.options(signal_key="k")


def test_what_happens_to_a_child_is_one_of_two() -> None:
    with pytest.raises(OptionError, match=r"on_parent_end .* has to be 'cancel' or 'abandon'"):
        order.options(on_parent_end="forget")


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"on_parent_end": "abandon"}, r"it is for children of a workflow: order\.run\(…\)"),
        ({"signal_key": "k"}, r"it is the key of the signal: order\.queue_and_signal\(…\)"),
    ],
    ids=str,
)
def test_an_option_that_would_mean_nothing_is_refused_where_it_is_sent(
    options: Any, hint: str
) -> None:
    with pytest.raises(OptionError, match=rf"has no meaning for order\.queue\(\) \({hint}"):
        sent(order.options(**options))


def test_queue_many_refuses_what_it_cannot_bind() -> None:
    with pytest.raises(TypeError, match="takes mappings of keyword arguments"):
        mail.queue_many_sync(["a"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"a call of order\(\) was given to mail"):
        mail.queue_many_sync([order.bind(1)])
    with pytest.raises(OptionError, match="2 calls and 1 keys"):
        mail.queue_many_sync([{"to": "a"}, mail.bind("b")], keys=["x"])
    with pytest.raises(OptionError, match="option key of mail cannot be shared"):
        mail.options(key="k").queue_many_sync([])


# --- Enqueued and signalled at once


def sent_with_signal(function: Any) -> dict[str, Any]:
    payload = function._enqueueing.payload("paid", {"at": ID})
    call = function._enqueueing.with_signal("{}", "paid", payload, Settings())
    assert call.params[:4] == ("order", "{}", "paid", f'{{"at":"{ID}"}}')
    options: dict[str, Any] = json.loads(call.params[4])
    return options


def test_a_workflow_is_enqueued_and_signalled_under_its_key() -> None:
    options = sent_with_signal(order.options(key="o1", delay=1))

    assert (options["key"], options["delay"], options["queue"]) == ("o1", 1.0, "orders")
    assert UUID(options["id"])
    assert UUID(options["signal_id"])
    assert "key_scope" not in options


def test_a_signal_with_a_key_needs_no_id() -> None:
    options = sent_with_signal(order.options(id=ID, signal_key="payment 7"))

    assert options["id"] == str(ID)
    assert options["signal_key"] == "payment 7"
    assert "signal_id" not in options


def test_what_could_not_be_found_again_is_not_signalled() -> None:
    with pytest.raises(OptionError, match=r"order\.queue_and_signal\(\) needs option key or id"):
        order.queue_and_signal_sync("paid", None, id=1)


def test_tasks_take_no_signals() -> None:
    with pytest.raises(InvalidArgument, match="mail is a task, and only workflows take signals"):
        mail.options(key="k").queue_and_signal_sync("paid", None, to="a")


@pytest.mark.parametrize("name", ["", 3, "x" * 501])
def test_a_signal_that_cannot_be_is_refused(name: Any) -> None:
    with pytest.raises(InvalidArgument, match="a signal's name has to be"):
        order.options(key="k").queue_and_signal_sync(name, None, 1)


def test_arguments_and_payload_are_checked_at_the_call() -> None:
    keyed = order.options(key="k")

    with pytest.raises(TypeError, match=r"order\(\) missing a required argument"):
        keyed.queue_and_signal("paid", None)  # type: ignore[call-arg]
    with pytest.raises(EncodingError, match="the payload of signal 'paid' cannot be sent"):
        keyed.queue_and_signal("paid", object(), 1)
    with pytest.raises(EncodingError, match="the payload of signal 'paid' cannot be sent"):
        keyed.queue_and_signal_sync("paid", object(), 1)
