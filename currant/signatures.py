"""The signature of a user's function: calls bound to it, and turned into JSON and back."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import (
    Any,
    Final,
    Never,
    NoReturn,
    Optional,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

from currant import codec
from currant.errors import DecodingError, DefinitionError

_Parameter = inspect.Parameter
_BY_PLACE: Final = frozenset({_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD})


class Signature:
    """What a function takes and gives.

    Args:
        name: the function's name in errors.
        local_names: what string annotations may refer to besides the module's names.
    """

    def __init__(
        self, fn: Callable[..., Any], name: str, local_names: Mapping[str, Any] | None = None
    ) -> None:
        self._fn = fn
        self._name = name
        self._local_names = local_names
        self._signature = inspect.signature(fn)
        parameters = self._signature.parameters.values()
        kinds = [parameter.kind for parameter in parameters]
        self._has_nameless = (
            _Parameter.POSITIONAL_ONLY in kinds or _Parameter.VAR_POSITIONAL in kinds
        )
        self._by_place = [each.name for each in parameters if each.kind in _BY_PLACE]
        self._only_by_place = [
            each.name for each in parameters if each.kind is _Parameter.POSITIONAL_ONLY
        ]
        self._is_plain = set(kinds) <= {
            _Parameter.POSITIONAL_OR_KEYWORD,
            _Parameter.KEYWORD_ONLY,
        }
        self._required = {each.name for each in parameters if each.default is _Parameter.empty}
        self._rest = _name_of(parameters, _Parameter.VAR_POSITIONAL)
        self._extra = _name_of(parameters, _Parameter.VAR_KEYWORD)
        self._arguments = f"the arguments of {name}()"

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The JSON of a call: an object, or an array where parameters have no names.

        Raises:
            TypeError: the arguments do not fit the signature.
            EncodingError: one of them cannot be sent.
        """
        positional: list[tuple[Any, Any, str]] = []
        named = self._bind_plainly(args, kwargs)
        if named is None:
            try:
                bound = self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self._name}() {error}") from None
            if self._has_nameless:
                positional = [(value, *self._at(place)) for place, value in enumerate(bound.args)]
                named = bound.kwargs
            else:
                named = dict(bound.arguments)
                if self._extra is not None:
                    named.update(named.pop(self._extra, {}))
        return codec.encode_call(
            positional, {name: (value, *self._called(name)) for name, value in named.items()}
        )

    def decode(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that the JSON of a call stands for.

        Raises:
            DecodingError: they do not fit the signature or the annotations.
        """
        places, names = codec.decode_call(text, what=self._arguments)
        for name in self._only_by_place[len(places) :]:
            if name in names:
                places.append(names.pop(name))
        args: list[Any] = []
        for place, raw in enumerate(places):
            hint, what = self._at(place)
            args.append(codec.decode_raw(raw, hint, what=what))
        kwargs: dict[str, Any] = {}
        for name, raw in names.items():
            hint, what = self._called(name)
            kwargs[name] = codec.decode_raw(raw, hint, what=what)
        if self._bind_plainly(args, kwargs) is None:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise DecodingError(
                    f"{self._arguments} do not fit its signature", detail=str(error)
                ) from None
        return tuple(args), kwargs

    def _bind_plainly(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """What `inspect` would bind, but faster; None where that takes a closer look."""
        if not self._is_plain or len(args) > len(self._by_place):
            return None
        given = dict(zip(self._by_place, args, strict=False))
        if kwargs:
            if not given.keys().isdisjoint(kwargs):
                return None
            given |= kwargs
            given = {name: given[name] for name in self._signature.parameters if name in given}
            if len(given) < len(args) + len(kwargs):
                return None
        if not self._required <= given.keys():
            return None
        return given

    @property
    def returns(self) -> tuple[Any, str]:
        """The annotation of the result, and what to call it in errors."""
        return self._hints["return"]

    def _at(self, place: int) -> tuple[Any, str]:
        if place < len(self._by_place):
            return self._hints[self._by_place[place]]
        if self._rest is not None:
            return self._hints[self._rest]
        return Any, f"argument {place + 1} of {self._name}()"

    def _called(self, name: str) -> tuple[Any, str]:
        known = self._hints.get(name) if name != "return" else None
        if known is not None and name not in (self._rest, self._extra):
            return known
        what = f"argument {name!r} of {self._name}()"
        return (Any if self._extra is None else self._extra_hint(name)), what

    def _extra_hint(self, name: str) -> Any:
        hint = self._hints[self._extra or ""][0]
        if get_origin(hint) is Unpack:
            return get_type_hints(get_args(hint)[0], include_extras=True).get(name, Any)
        return hint

    @cached_property
    def _hints(self) -> dict[str, tuple[Any, str]]:
        """Annotation and description of each parameter and of "return", found at first use."""
        found = _resolved(self._fn, self._name, self._local_names)
        hints: dict[str, tuple[Any, str]] = {}
        for name, parameter in self._signature.parameters.items():
            hint = found.get(name, Any)
            if parameter.default is None:
                hint = Optional[hint]  # noqa: UP045  (the hint may be any object)
            hints[name] = hint, f"argument {name!r} of {self._name}()"
        hints["return"] = _result(found, self._name)
        for hint, what in hints.values():
            if get_origin(hint) is not Unpack:
                codec.check_hint(hint, what=what)
        return hints


def returned_by(fn: Callable[..., Any], name: str) -> tuple[Any, str]:
    """The annotation of what a function returns, and what to call that in errors.

    The annotations of its parameters need not be any that could be used.

    Raises:
        DefinitionError: it cannot be resolved, or nothing can be decoded as such.
    """
    alone = SimpleNamespace(
        __annotations__={k: v for k, v in fn.__annotations__.items() if k == "return"},
        __globals__=getattr(inspect.unwrap(fn), "__globals__", {}),
        __type_params__=getattr(fn, "__type_params__", ()),
    )
    hint, what = _result(_resolved(alone, name), name)
    codec.check_hint(hint, what=what)
    return hint, what


def _resolved(
    annotated: Any, name: str, local_names: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    try:
        return get_type_hints(
            annotated,
            localns=None if local_names is None else dict(local_names),
            include_extras=True,
        )
    except Exception as error:
        raise DefinitionError(
            f"the type hints of {name}() cannot be resolved",
            detail=str(error),
            hint="import what they name at run time, not under TYPE_CHECKING alone",
        ) from error


def _result(found: Mapping[str, Any], name: str) -> tuple[Any, str]:
    returned = found.get("return", Any)
    return (Any if returned in (Never, NoReturn) else returned), f"the result of {name}()"


def _name_of(parameters: Any, kind: Any) -> str | None:
    return next((each.name for each in parameters if each.kind is kind), None)
