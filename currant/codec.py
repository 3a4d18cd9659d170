"""Python values to JSON text and back, by the annotations of the functions they belong to.

What JSON itself cannot say is written as text (dates, UUIDs, decimals, bytes as base64) and comes
back as what the annotation says. A value that could not come back is refused when it is sent.
"""

import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Protocol

import msgspec

from currant.errors import DecodingError, DefinitionError, EncodingError

Json = str
Raw = msgspec.Raw

# An escaped NUL, not a backslash followed by the letters u0000.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class PayloadHook(Protocol):
    """Sees every payload on its way, to compress or encrypt it.

    Both take and give JSON text. `outgoing` of an object has to give an object; `incoming` is
    also shown payloads that never went through `outgoing`, such as those sent from plain SQL.
    """

    def outgoing(self, text: Json) -> Json: ...

    def incoming(self, text: Json) -> Json: ...


_hooks: list[PayloadHook] = []


def set_hook(hook: PayloadHook | None) -> None:
    """Have the hook see all payloads of this process from now on; None removes it."""
    _hooks[:] = [] if hook is None else [hook]


def checked_size(text: Json, limit: int, *, what: str) -> Json:
    """The text, unless it has more bytes than are stored.

    Raises:
        EncodingError: it has.
    """
    # At most four bytes a character: most texts need not be encoded to know.
    if 4 * len(text) > limit and (size := len(text.encode())) > limit:
        raise EncodingError(
            f"{what} has {size} bytes",
            hint=f"at most {limit} are stored: keep it elsewhere and send a reference",
        )
    return text


def encode(value: Any, *, what: str, hint: Any = Any) -> Json:
    """The value as JSON text.

    Args:
        what: names the value in errors, such as "the result of send_email()".
        hint: the annotation it is going to be decoded by.

    Raises:
        EncodingError: the value has no place in JSON, or would not come back as `hint`.
    """
    return _outgoing(_to_json(value, what, hint))


def plain(value: Any, *, what: str) -> Json:
    """`encode` for what no payload hook should see."""
    return _to_json(value, what, Any)


def decode(text: Json | None, hint: Any = Any, *, what: str) -> Any:
    """The value that the JSON text stands for under the annotation.

    Raises:
        DecodingError: the text does not fit it.
    """
    if text is None:
        text = "null"
    return _from_json(_incoming(text), hint, what)


def encode_call(
    positional: Sequence[tuple[Any, Any, str]], named: Mapping[str, tuple[Any, Any, str]]
) -> Json:
    """The JSON of a call's arguments, each given as (value, annotation, what it is).

    Named ones make an object, positional ones an array; both make an object with the
    positional ones under "*".
    """
    array = f"[{','.join(_to_json(*_reordered(item)) for item in positional)}]"
    if positional and not named:
        return _outgoing(array)
    fields = [
        f"{_name_to_json(name)}:{_to_json(*_reordered(item))}" for name, item in named.items()
    ]
    if positional:
        fields.insert(0, f'"*":{array}')
    return _outgoing("{" + ",".join(fields) + "}")


@lru_cache(maxsize=4096)
def _name_to_json(name: str) -> Json:
    return _to_json(name, name, Any)


def _reordered(item: tuple[Any, Any, str]) -> tuple[Any, str, Any]:
    value, hint, what = item
    return value, what, hint


def decode_call(text: Json, *, what: str) -> tuple[list[Raw], dict[str, Raw]]:
    """The arguments of a call, positional and named, each still to be decoded by `decode_raw`."""
    text = _incoming(text)
    try:
        found: Any = _calls.decode(text)
        star = found.pop("*", None) if isinstance(found, dict) else None
        rest: list[Raw] = [] if star is None else _stars.decode(star)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise DecodingError(
            f"{what} are no JSON object or array",
            detail=_reason(error),
            hint="an object holds keyword arguments, an array positional ones",
        ) from error
    return (found, {}) if isinstance(found, list) else (rest, found)


def decode_raw(raw: Raw, hint: Any, *, what: str) -> Any:
    """One argument of `decode_call`."""
    return _from_json(raw, hint, what)


def check_hint(hint: Any, *, what: str) -> None:
    """Raise DefinitionError if no JSON can be decoded by the annotation."""
    _decoder_for(hint, what)


def _outgoing(text: Json) -> Json:
    for hook in _hooks:
        text = hook.outgoing(text)
    return text


def _incoming(text: Json) -> Json:
    for hook in _hooks:
        text = hook.incoming(text)
    return text


def _to_json(value: Any, what: str, hint: Any) -> Json:
    try:
        text = _encoder.encode(value).decode()
    except EncodingError as error:
        raise EncodingError(
            f"{what} cannot be sent", detail=error.message, hint=error.hint
        ) from None
    except UnicodeEncodeError:
        raise EncodingError(
            f"{what} cannot be sent", detail="it has a text with half a surrogate pair"
        ) from None
    except RecursionError:
        raise EncodingError(
            f"{what} cannot be sent", detail="it contains itself, or is nested too deeply"
        ) from None
    except Exception as error:
        raise EncodingError(f"{what} cannot be sent", detail=_reason(error)) from error
    # NaN and infinity come out as null, so only where there is a null a closer look is needed.
    if "null" in text and value is not None:
        for path, number in _odd_numbers(msgspec.to_builtins(value, enc_hook=_encode_other), "$"):
            raise EncodingError(
                f"{what} cannot be sent", detail=f"{number} at {path} has no place in JSON"
            )
    if "\\u0000" in text and _NUL.search(text):
        raise EncodingError(
            f"{what} cannot be sent", detail="PostgreSQL cannot store text with a NUL character"
        )
    if hint is not Any:
        try:
            _decoder_for(hint, what).decode(text)
        except (msgspec.MsgspecError, UnicodeError, ValueError, TypeError) as error:
            if isinstance(error, DefinitionError):
                raise
            raise EncodingError(
                f"{what} does not fit its annotation {_name_of(hint)}", detail=_reason(error)
            ) from None
    return text


def _from_json(text: Json | Raw, hint: Any, what: str) -> Any:
    decoder = _decoder_for(hint, what)
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, ValueError, TypeError, RecursionError) as error:
        raise DecodingError(
            f"{what} does not fit its annotation {_name_of(hint)}", detail=_reason(error)
        ) from error


def _odd_numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _odd_numbers(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _odd_numbers(item, f"{path}[{place}]")


def _encode_other(value: Any) -> Any:
    """What msgspec does not know: subclasses of simple types, paths, pydantic models."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, PurePath):
        return str(value)
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json")
    # What is simple everywhere else can only have got here as the key of a dict.
    place = "as a key" if isinstance(value, tuple | frozenset | None) else "in JSON"
    raise EncodingError(
        f"{_name_of(type(value))} has no form {place}",
        hint="send what says the same as a dataclass, dict, list, text or number",
    )


def _decode_other(kind: Any, value: Any) -> Any:
    if not isinstance(kind, type):
        raise TypeError(f"no value of {_name_of(kind)} can be made from JSON")
    if isinstance(value, kind):
        return value
    if _is_pydantic(kind):
        # From text, since pydantic is more lenient there: a strict model still takes dates.
        return kind.model_validate_json(msgspec.json.encode(value))  # type: ignore[attr-defined]
    if issubclass(kind, str | PurePath) and isinstance(value, str):
        return kind(value)
    if issubclass(kind, int | float) and isinstance(value, int | float):
        return kind(value)
    raise TypeError(f"no {_name_of(kind)} can be made from JSON")


def _is_pydantic(kind: type) -> bool:
    # Whoever has such a model has imported pydantic; nobody else should have to.
    module = sys.modules.get("pydantic")
    return module is not None and issubclass(kind, module.BaseModel)


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)
_calls = msgspec.json.Decoder(list[Raw] | dict[str, Raw])
_stars = msgspec.json.Decoder(list[Raw])


def _decoder_for(hint: Any, what: str) -> "msgspec.json.Decoder[Any]":
    try:
        try:
            return _cached_decoder(hint)
        except TypeError:
            # Not hashable, such as Annotated with a list; or really not usable, as it then says.
            return _new_decoder(hint)
    except (TypeError, NameError, ValueError, RecursionError) as error:
        raise DefinitionError(
            f"{what} has an annotation that JSON cannot carry: {_name_of(hint)}",
            detail=_reason(error),
        ) from error


def _new_decoder(hint: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(hint, dec_hook=_decode_other)


_cached_decoder = lru_cache(maxsize=4096)(_new_decoder)


def _name_of(hint: Any) -> str:
    if isinstance(hint, type) and not hasattr(hint, "__args__"):
        return hint.__qualname__ if hint.__module__ == "builtins" else _dotted(hint)
    return str(hint).replace("typing.", "")


def _dotted(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
