import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len

from currant.cli import render
from currant.cli.render import Column, Screen
from currant.cli.terminal import clean, one_line, prepare_streams

ID = "0190c000-0000-7000-8000-000000000000"
COLUMNS = (
    Column("ID"),
    Column("FUNCTION", shrinks_to=8),
    Column("AGE", keep=2, is_right=True),
    Column("NOTE", shrinks_to=10, keep=1),
)
ROWS = [
    (ID, "a_function_with_a_long_name", "3m", "a note that says a little more"),
    (ID, "short", "12s", ""),
]


class Terminal(io.StringIO):
    """A terminal without colours."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def table(stream: io.StringIO) -> list[str]:
    Screen(stream).table(COLUMNS, ROWS)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_a_pipe_gets_everything_aligned_and_plain() -> None:
    assert table(io.StringIO()) == [
        f"{'ID':<36}  FUNCTION                     AGE  NOTE",
        f"{ID}  a_function_with_a_long_name   3m  a note that says a little more",
        f"{ID}  short                        12s  -",
    ]


@pytest.mark.parametrize("width", [46, 60, 72, 80, 100, 200])
@pytest.mark.usefixtures("on_terminal")
def test_a_table_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    lines = table(Terminal())

    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert all(ID in line for line in lines[1:])


@pytest.mark.usefixtures("on_terminal")
def test_what_matters_least_gives_way_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")

    title, first, _ = table(Terminal())

    assert title.split() == ["ID", "FUNCTION", "AGE"]
    assert "  a_function_with_…  " in first
    assert first.endswith("3m")


@pytest.mark.usefixtures("on_terminal")
def test_a_column_without_values_goes_before_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def titles(width: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        stream = Terminal()
        Screen(stream).table(COLUMNS, [(ID, "f", "", "note")])
        return stream.getvalue().splitlines()[0].split()

    assert titles(60) == ["ID", "FUNCTION", "AGE", "NOTE"]
    assert titles(53) == ["ID", "FUNCTION", "NOTE"]


@pytest.mark.usefixtures("on_terminal")
def test_a_terminal_too_narrow_for_anything_gets_whole_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "20")

    assert table(Terminal()) == table(io.StringIO())


def test_wide_characters_count_double() -> None:
    stream = io.StringIO()

    Screen(stream).table((Column("A"), Column("B")), [("日本", "x"), ("abc", "y")])

    lines = stream.getvalue().splitlines()
    assert {cell_len(line) for line in lines} == {7}


def test_a_table_without_rows_is_its_titles() -> None:
    stream = io.StringIO()

    Screen(stream).table(COLUMNS, [])

    assert stream.getvalue().split() == ["ID", "FUNCTION", "AGE", "NOTE"]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.usefixtures("on_terminal")
def test_data_cannot_steer_the_terminal(terminal: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    screen = Screen(stream)

    screen.fields([("args", "\x1b]0;title\x07\r\nnext"), ("empty", "")])
    screen.line("\x1b[2J[bold]no markup[/bold] :smile:")
    screen.table((Column("A"),), [("\x9b31m[red]x",)])

    shown = stream.getvalue()
    assert not set(shown) & {"\x1b", "\x07", "\r", "\x9b"}
    for text in ("\\x1b]0;title\\x07; next", "[bold]no markup[/bold] :smile:", "\\x9b31m[red]x"):
        assert text in shown
    assert "empty" not in shown


@pytest.mark.usefixtures("on_terminal")
def test_a_status_has_its_colour_only_where_colour_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shown() -> str:
        stream = Terminal()
        monkeypatch.setattr("sys.stdout", stream)
        Screen().table((Column("STATUS"),), [("failed",)])
        return stream.getvalue()

    assert "\x1b" not in shown()
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b" in shown()
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown()


def test_json_keeps_every_digit_of_what_was_stored() -> None:
    stream = io.StringIO()

    Screen(stream).json({"args": render.raw_json('{"x": 1.10000000000000000000001}'), "n": None})

    assert "1.10000000000000000000001" in stream.getvalue()
    assert json.loads(stream.getvalue())["n"] is None


@pytest.mark.usefixtures("on_terminal")
def test_values_take_their_short_form_before_anything_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = (Column("ID", short=render.short_ids), Column("NOTE", shrinks_to=4, keep=1))

    def shown(width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        stream = Terminal()
        Screen(stream).table(columns, [(ID, "a note")])
        return stream.getvalue().splitlines()[1].rstrip()

    assert shown(50) == f"{ID}  a note"
    assert shown(30) == f"{ID[-12:]}  a note"


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.usefixtures("on_terminal")
def test_parts_stand_side_by_side_and_fields_may_be_indented(terminal: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()

    Screen(stream).parts(ID, "ok       ", "a\nb")
    Screen(stream).fields([("label", "value")], indent=2)

    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert lines == [f"{ID}  ok         a; b", "  label  value"]


@pytest.mark.usefixtures("on_terminal")
def test_a_status_that_a_value_begins_with_has_its_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")

    def is_coloured(value: str) -> bool:
        stream = Terminal()
        monkeypatch.setattr("sys.stdout", stream)
        Screen(stream).parts(value)
        return "\x1b" in stream.getvalue()

    assert is_coloured("failed: ValueError")
    assert is_coloured("mismatch ")
    assert not is_coloured("failed is not all")
    assert not is_coloured("they failed")


def test_branches_of_a_tree_have_plain_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, binary = stream_of("ascii")
    monkeypatch.setattr("sys.stdout", stream)
    prepare_streams()

    Screen(stream).line("├─ a │ b └─ c")

    assert binary.getvalue() == b"|- a | b `- c\n"


def stream_of(encoding: str) -> tuple[io.TextIOWrapper, io.BytesIO]:
    binary = io.BytesIO()
    return io.TextIOWrapper(binary, encoding=encoding, write_through=True), binary


def test_any_encoding_can_show_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, binary = stream_of("ascii")
    monkeypatch.setattr("sys.stdout", stream)
    prepare_streams()

    Screen(stream).line("Grüße — 日本 … \ud800")

    assert binary.getvalue().decode() == "Gr\\xfc\\xdfe - \\u65e5\\u672c ~ \\ud800\n"


def test_json_is_valid_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, binary = stream_of("latin-1")
    monkeypatch.setattr("sys.stdout", stream)
    prepare_streams()

    Screen(stream).json({"a": "日本 ü", "n": render.raw_json("1.10000000000000000000001")})

    assert json.loads(binary.getvalue())["a"] == "日本 ü"
    assert b"1.10000000000000000000001" in binary.getvalue()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0.00s"),
        (0.123, "0.12s"),
        (9.996, "10.0s"),
        (59.96, "1m00s"),
        (245, "4m05s"),
        (3599.7, "1h00m"),
        (11520, "3h12m"),
        (86400 * 2 + 3600 * 3, "2d03h"),
        (-1.5, "-1.50s"),
        (timedelta(seconds=3.25), "3.25s"),
        (None, ""),
    ],
)
def test_durations_read_as_people_say_them(number: float | timedelta | None, text: str) -> None:
    assert render.seconds(number) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86400 * 400, "400d"), (-5, "0s")],
)
def test_an_age_has_one_unit(ago: float, text: str) -> None:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)

    assert render.age(now - timedelta(seconds=ago), now=now) == text


@pytest.mark.parametrize(
    ("stored", "line"),
    [
        (None, ""),
        ('{"type": "ValueError", "message": "no", "traceback": "…"}', "ValueError: no"),
        ('{"message": "no"}', "no"),
        ('{"type": "Timeout"}', "Timeout"),
        ('"a text"', "a text"),
    ],
)
def test_a_stored_error_is_told_in_a_line(stored: str | None, line: str) -> None:
    assert render.error_line(stored) == line


def test_a_long_value_says_where_the_rest_is() -> None:
    assert render.shortened("x" * 10) == "x" * 10
    assert render.shortened("x" * 10_000).endswith("(10,000 characters; --json shows all)")


def test_text_of_several_lines_becomes_one() -> None:
    assert one_line("\n  a\r\n\n  b\tc\x1b ") == "  a; b c\\x1b"
    assert clean("a\tb\nc") == "a\tb\nc"
