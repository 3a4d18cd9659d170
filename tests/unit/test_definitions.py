"""Decorators, the registry, binding of calls, options."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TypedDict, Unpack
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currant import task, workflow
from currant.definitions import Function, registry
from currant.errors import (
    DecodingError,
    DefinitionError,
    EncodingError,
    OptionError,
    Retry,
)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_functions", {})


Load = Callable[..., ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Imports source text as a module of that name from a file of that name."""
    loaded: list[str] = []

    def load(source: str, name: str, file: str | None = None) -> ModuleType:
        path = tmp_path / f"{file or name}.py"
        path.write_text("from currant import task, workflow\n" + source)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        sys.modules.pop(name, None)


# --- Decorating


def test_decorators_work_with_and_without_parentheses() -> None:
    @task
    async def bare() -> None: ...

    @task()
    def empty() -> None: ...

    @workflow
    async def flow() -> None: ...

    @workflow(version=2)
    async def flow_with_options() -> None: ...

    assert [(each.name, each.kind, each.is_async) for each in registry] == [
        ("bare", "task", True),
        ("empty", "task", False),
        ("flow", "workflow", True),
        ("flow_with_options", "workflow", True),
    ]


def test_a_declaration_holds_what_the_decorator_said() -> None:
    @task(
        name="charge",
        queue="money",
        retries=5,
        timeout=timedelta(minutes=1),
        priority=-3,
        retry_delay=2,
        retry_backoff=1.5,
        retry_max_delay=60,
        non_retryable=ValueError,
    )
    def charge_card() -> None: ...

    assert charge_card.declaration.as_json() == {
        "name": "charge",
        "kind": "task",
        "queue": "money",
        "version": 1,
        "retries": 5,
        "timeout": 60.0,
        "priority": -3,
        "retry_delay": 2.0,
        "retry_backoff": 1.5,
        "retry_max_delay": 60.0,
    }
    assert charge_card.declaration.non_retryable == (ValueError,)
    assert registry.get("charge") is charge_card
    assert registry.get("charge_card") is None


def test_a_declaration_leaves_out_what_was_not_said() -> None:
    @task(queue=None, retries=None, timeout=None)
    def f() -> None: ...

    assert f.declaration.as_json() == {"name": "f", "kind": "task", "version": 1}


def test_a_decorated_function_still_looks_and_behaves_like_itself() -> None:
    @task
    def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    assert add(1) == 3
    assert add.fn(1, b=3) == 4
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert str(inspect.signature(add)) == "(a: int, b: int = 2) -> int"
    assert repr(add) == "<task add>"


@pytest.mark.parametrize("decorator", [task, workflow])
def test_an_unknown_option_of_a_decorator_is_refused_with_the_known_ones(decorator: Any) -> None:
    with pytest.raises(OptionError, match=r"no option 'qeue' \(known options: name, queue, "):
        decorator(qeue="x")


@pytest.mark.parametrize(
    "options",
    [
        {"queue": ""},
        {"queue": 3},
        {"queue": "a\0"},
        {"retries": -1},
        {"retries": 2.0},
        {"retries": True},
        {"timeout": 0},
        {"timeout": "1 minute"},
        {"timeout": float("nan")},
        {"timeout": timedelta(0)},
        {"priority": 10**9},
        {"retry_delay": -1},
        {"retry_backoff": 0.5},
        {"retry_backoff": float("inf")},
        {"non_retryable": "ValueError"},
        {"non_retryable": (ValueError, int)},
        {"transactional": 1},
        {"name": 3},
    ],
    ids=str,
)
def test_a_wrong_value_in_a_decorator_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"option {next(iter(options))} of @task has to be"):
        task(**options)


def test_a_workflow_takes_no_retries() -> None:
    with pytest.raises(OptionError, match="@workflow has no option 'retries'"):
        workflow(retries=3)  # type: ignore[call-overload]


def test_what_is_no_plain_function_is_refused() -> None:
    class Thing:
        def __call__(self) -> None: ...

        def method(self) -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    async def agenerator() -> Any:
        yield 1

    def sync() -> None: ...

    decorated = task(name="decorated")(sync)
    refused: list[tuple[Any, Any, str]] = [
        (task, Thing.method, "is a method"),
        (task, Thing(), "is for functions"),
        (task, print, "is for functions"),
        (task, "name", "is for functions"),
        (task, staticmethod(Thing.method), "is a method"),
        (task, generator, "is a generator"),
        (task, agenerator, "is a generator"),
        (task, lambda: None, "a lambda needs a name"),
        (task, decorated, "decorated is a task already"),
        (workflow, sync, "is no async def"),
    ]
    for decorator, thing, reason in refused:
        with pytest.raises(DefinitionError, match=reason):
            decorator(thing)


# --- Registering again


def test_the_same_function_again_replaces(load: Load) -> None:
    first = load("@task\ndef f(): ...", "app")
    second = load("@task\ndef f(): ...", "app")

    assert first.f is not second.f
    assert registry.get("f") is second.f


def test_a_script_imported_again_under_its_name_replaces(load: Load) -> None:
    load("@task\ndef f(): ...", "__main__x", file="app")
    again = load("@task\ndef f(): ...", "app", file="app")

    assert registry.get("f") is again.f


def test_two_versions_in_one_file_replace(load: Load) -> None:
    source = "@workflow(version={0})\nasync def f(): return {0}\n"
    module = load(source.format(1) + source.format(2), "app")

    assert registry.get("f") is module.f
    assert module.f.declaration.version == 2


def test_another_place_with_the_same_name_is_an_error_naming_both(load: Load) -> None:
    load("@task\ndef f(): ...", "shop")

    with pytest.raises(DefinitionError, match=r"called f: shop\.f \(.*shop\.py\) and post\.f \("):
        load("@task\ndef f(): ...", "post")


def test_another_function_under_the_same_name_in_one_file_is_an_error(load: Load) -> None:
    with pytest.raises(DefinitionError, match="two functions are called f"):
        load("@task\ndef f(): ...\n@task(name='f')\ndef g(): ...", "shop")


def test_a_local_function_replaces_and_is_replaced(load: Load) -> None:
    load("@task\ndef f(): ...", "shop")

    def make() -> Function[..., Any, Any]:
        @task
        def f() -> None: ...

        return f

    local = make()
    assert registry.get("f") is local
    newer = make()
    assert registry.get("f") is newer
    module = load("@task\ndef f(): ...", "post")
    assert registry.get("f") is module.f


# --- Calls and their JSON


@dataclass
class Order:
    id: UUID
    at: datetime


class Extra(TypedDict, total=False):
    weight: float


@task
def everything(
    first: int, /, order: Order, *rest: datetime, flag: bool = False, **extra: timedelta
) -> None: ...


def simple(a: int, b: str = "x", *, c: float | None = None) -> None: ...


ORDER = Order(UUID(int=7), datetime(2026, 1, 31, tzinfo=UTC))


def test_arguments_with_names_travel_as_an_object() -> None:
    f = task(simple)

    assert f.encode_call((1,), {"c": 2}) == '{"a":1,"c":2}'
    assert f.encode_call((), {"b": "y", "a": 1}) == '{"a":1,"b":"y"}'
    assert f.decode_call('{"a": 1, "c": null}') == ((), {"a": 1, "c": None})


def test_arguments_may_come_as_an_array() -> None:
    assert task(simple).decode_call('[1, "y"]') == ((1, "y"), {})


def test_a_call_without_arguments_is_an_object() -> None:
    @task
    def nothing() -> None: ...

    assert nothing.encode_call((), {}) == "{}"
    assert nothing.decode_call("{}") == ((), {})
    assert nothing.decode_call("[]") == ((), {})


def test_every_kind_of_parameter_comes_back_typed() -> None:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    args, kwargs = (1, ORDER, moment), {"flag": True, "wait": timedelta(seconds=5)}

    text = everything.encode_call(args, kwargs)

    assert everything.decode_call(text) == (args, kwargs)


def test_plain_sql_may_name_positional_only_parameters() -> None:
    order = f'{{"id": "{ORDER.id}", "at": "2026-01-31T00:00:00Z"}}'
    text = f'{{"first": 1, "order": {order}}}'

    assert everything.decode_call(text) == ((1,), {"order": ORDER})


@given(
    st.integers(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_however_a_call_is_written_the_function_gets_the_same(
    a: int, b: str, c: float | None, by_name: list[bool]
) -> None:
    f: Function[..., Any, Any] = Function(simple, task(simple).declaration)
    args = (a,) if not by_name[0] else ()
    kwargs: dict[str, Any] = {"a": a} if by_name[0] else {}
    if args and not by_name[1]:
        args = (a, b)  # type: ignore[assignment]
    else:
        kwargs["b"] = b
    kwargs["c"] = c

    got_args, got_kwargs = f.decode_call(f.encode_call(args, kwargs))

    assert inspect.signature(simple).bind(*got_args, **got_kwargs).arguments == (
        {"a": a, "b": b, "c": c}
    )


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((), {}, r"f\(\) missing a required argument: 'a'"),
        ((1, "x", 3), {}, r"f\(\) too many positional arguments"),
        ((1,), {"z": 1}, r"f\(\) got an unexpected keyword argument 'z'"),
        ((1,), {"a": 1}, r"f\(\) multiple values for argument 'a'"),
    ],
)
def test_wrong_arguments_fail_at_the_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], reason: str
) -> None:
    f: Any = task(name="f")(simple)

    for call in (f.queue, f.run, f.bind, f.queue_sync, f.run_sync):
        with pytest.raises(TypeError, match=reason):
            call(*args, **kwargs)


def test_an_argument_that_does_not_fit_is_named() -> None:
    f: Any = task(name="f")(simple)

    with pytest.raises(
        EncodingError, match=r"argument 'a' of f\(\) does not fit its annotation int"
    ):
        f.queue("1")
    with pytest.raises(EncodingError, match=r"argument 'c' of f\(\) cannot be sent: object has"):
        f.queue(1, c=object())
    with pytest.raises(EncodingError, match=r"argument 'rest' of everything\(\) does not fit"):
        everything.queue(1, ORDER, 5)  # type: ignore[arg-type]
    with pytest.raises(EncodingError, match=r"argument 'wait' of everything\(\) does not fit"):
        everything.queue(1, ORDER, wait=[])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": "1"}', "argument 'a' of f"),
        ("{}", "missing a required argument: 'a'"),
        ('{"a": 1, "z": 1}', "unexpected keyword argument 'z'"),
        ('{"a": 1, "return": 1}', "unexpected keyword argument 'return'"),
        ('[1, "x", 3]', "too many positional arguments"),
        ("1", "are no JSON object or array"),
    ],
)
def test_stored_arguments_that_do_not_fit_are_refused(text: str, reason: str) -> None:
    with pytest.raises(DecodingError, match=reason):
        task(name="f")(simple).decode_call(text)


def test_a_default_of_none_makes_none_a_value() -> None:
    @task
    def f(a: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert f.decode_call(f.encode_call((None,), {})) == ((), {"a": None})


def test_keyword_arguments_may_be_typed_one_by_one() -> None:
    @task
    def f(**extra: Unpack[Extra]) -> None: ...

    assert f.encode_call((), {"weight": 2}) == '{"weight":2}'
    with pytest.raises(EncodingError, match="argument 'weight'"):
        f.encode_call((), {"weight": "2"})


def test_results_are_typed_too() -> None:
    @task
    async def f() -> Order:
        return ORDER

    assert f.decode_result(f.encode_result(ORDER)) == ORDER
    with pytest.raises(EncodingError, match=r"the result of f\(\) does not fit"):
        f.encode_result({"id": 1})
    with pytest.raises(DecodingError, match=r"the result of f\(\) does not fit"):
        f.decode_result("[]")


def test_a_function_that_never_returns_is_fine() -> None:
    @task
    def f() -> NoReturn:
        raise ValueError

    assert f.encode_call((), {}) == "{}"


def test_hints_are_resolved_at_first_use(load: Load) -> None:
    module = load(
        "import msgspec\n"
        "@task\ndef f(a: 'Later') -> 'list[Later]': ...\n"
        "class Later(msgspec.Struct):\n    x: int\n",
        "app",
    )

    assert module.f.decode_call('{"a": {"x": 1}}') == ((), {"a": module.Later(1)})


def test_hints_that_cannot_be_resolved_are_an_error_at_first_use(load: Load) -> None:
    module = load("@task\ndef f(a: 'Nowhere'): ...", "app")

    with pytest.raises(DefinitionError, match=r"hints of f\(\) cannot be resolved: .*'Nowhere'"):
        module.f.queue(1)


def test_hints_of_a_local_function_may_name_local_classes() -> None:
    @dataclass
    class Local:
        x: int

    @task
    def f(a: "Local") -> None: ...

    assert f.decode_call('{"a": {"x": 1}}') == ((), {"a": Local(1)})


def test_an_annotation_that_json_cannot_carry_is_named() -> None:
    @task
    def f(a: datetime | str) -> None: ...

    with pytest.raises(DefinitionError, match=r"argument 'a' of f\(\) has an annotation that"):
        f.queue("x")


# --- Retrying


def test_what_is_retried_and_what_is_not() -> None:
    class Declined(ValueError): ...

    @task(non_retryable=(ValueError, KeyError))
    def f() -> None: ...

    assert f.is_retryable(RuntimeError())
    assert f.is_retryable(Retry())
    assert not f.is_retryable(Declined())
    assert not f.is_retryable(KeyError())
    assert not f.is_retryable(EncodingError("x"))
    assert not f.is_retryable(DecodingError("x"))
