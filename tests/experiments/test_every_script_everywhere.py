"""Every script × every kind of terminal × wrong inputs: what it prints is right, or it is one line with status 2.

Scripts and options are read from the parsers, so that a new one is among them by itself.
"""

from __future__ import annotations

import importlib
import json
import re
import signal
from argparse import Action
from collections.abc import Iterator
from typing import Any

import pytest

import terminals
from experiments.lab import cli, limits
from experiments.lab.errors import UsageError
from experiments.lab.options import size
from terminals import Ended, Place, Scripts

PLACES = {
    "80 columns": Place(80),
    "120 columns, no colour": Place(120, settings={"NO_COLOR": "1"}),
    "60 columns of ASCII": Place(60, encoding="ascii"),
    "a dumb terminal": Place(80, settings={"TERM": "dumb"}),
    "a pipe": Place(),
    "nowhere": Place(output="nowhere"),
}
NUMBERS = ("0", "-1", "1", "x", "nan")
TOO_MANY, TOO_MANY_BYTES = "99999999", "9999999999999"
FILES = ("x.txt", "none/x.png", ".")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    with terminals.imported() as started:
        yield started


def module(name: str) -> Any:
    return importlib.import_module(f"experiments.{name}")


def on_mpi_only(name: str) -> bool:
    """Return whether a script has no simulated ranks; real MPI is not started here, so it prints nothing."""
    return bool(module(name).parser().get_default("mpi"))


def options(name: str) -> list[Action]:
    """Return the options of a script that take a value."""
    return [each for each in module(name).parser()._actions if each.option_strings and each.nargs != 0]


def small(name: str) -> list[str]:
    """Return arguments with which a script takes little: of each number and name the first that it accepts."""
    given = list[str]()
    for option in options(name):
        if option.metavar == "FILE" or (option.choices and option.nargs is None):
            continue
        for value in [*option.choices][-1:] if option.choices else ("2", "4", "8", "1", "1KiB", "8MiB"):
            if accepts(name, [*given, option.option_strings[0], value]):
                given += [option.option_strings[0], value]
                break
    return given


def accepts(name: str, argv: list[str]) -> bool:
    """Return whether a script would begin with these arguments."""
    try:
        cli._start(module(name).parser(), module(name).prepare, argv)
    except UsageError:
        return False
    return True


def is_one_line(ended: Ended) -> bool:
    return ended.status == 2 and ended.out == "" and len(ended.err.splitlines()) == 1


def lines_of(text: str) -> list[str]:
    """Return what stands in the lines of a terminal, also what a progress bar wrote over."""
    return re.split(r"[\r\n]+", ESCAPE.sub("", text))


# -- right input -------------------------------------------------------------------------------------------------


# Scripts that take a second or more run in half of the places: a narrow, a common, and one that is no terminal.
SLOW = ("which_plan", "precision", "bitonic_sort", "zero", "hidden_bugs", "hang_gallery", "one_loss_curve")
ENOUGH = ("60 columns of ASCII", "80 columns", "a pipe")


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name in terminals.names() for place in PLACES if name not in SLOW or place in ENOUGH],
)
def test_output_fits_and_is_whole(name, place, scripts, tmp_path):
    ended = scripts.run(name, [*small(name), "--json", "kept.json"], PLACES[place], tmp_path)
    assert (ended.status, ended.err) == (0, "")
    judge(ended, PLACES[place])
    if PLACES[place].output != "nowhere" and not on_mpi_only(name):
        words = {*ESCAPE.sub("", ended.out).split()}
        kept = json.loads((tmp_path / "kept.json").read_text())["tables"]
        names = [next(iter(row.values())) for table in kept for row in table["rows"]]
        assert names
        assert {word for each in names if isinstance(each, str) for word in each.split()} <= words


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", terminals.names())
def test_help_fits_and_is_whole(name, place, scripts, tmp_path):
    ended = scripts.run(name, ["--help"], PLACES[place], tmp_path)
    assert (ended.status, ended.err) == (0, "")
    judge(ended, PLACES[place])
    if PLACES[place].output != "nowhere":
        assert {each.option_strings[-1] for each in options(name)} <= {*re.findall(r"--[\w-]+", ended.out)}


def judge(ended: Ended, place: Place) -> None:
    """Assert that no line is cut or too wide, and that there are escape codes only where they mean something."""
    shown = ESCAPE.sub("", ended.out)
    assert "Traceback" not in shown
    if place.encoding == "ascii":
        assert shown.isascii()
        assert "?" not in re.sub(r"\w\?", "", shown)  # a question is no character that could not be written
    if place.columns:
        assert max(map(len, lines_of(ended.out))) <= place.columns
        assert "…" not in shown
    if not place.columns or place.settings.get("TERM") == "dumb":
        assert "\x1b" not in ended.out
    if "NO_COLOR" in place.settings:
        assert not COLOUR.search(ended.out)


@pytest.mark.parametrize("argv", [[], ["--help"]], ids=["runs", "help"])
@pytest.mark.parametrize("name", [name for name in terminals.names() if not on_mpi_only(name)])
def test_a_closed_pipe_ends_it_as_it_ends_a_tool_of_unix(name, argv, scripts, tmp_path):
    ended = scripts.run(name, argv or small(name), Place(output="closed pipe"), tmp_path)
    assert (ended.status, ended.err) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize("argv", [[], ["--help"]], ids=["runs", "help"])
@pytest.mark.parametrize("name", [name for name in terminals.names() if not on_mpi_only(name)])
def test_a_full_device_is_one_line(name, argv, scripts, tmp_path):
    ended = scripts.run(name, argv or small(name), Place(output="full device"), tmp_path)
    assert (ended.status, ended.err) == (1, f"{name}.py: cannot write the output: No space left on device\n")


# -- wrong input -------------------------------------------------------------------------------------------------


def wrong(option: Action) -> tuple[str, ...]:
    if option.choices:
        return ("x",)
    if option.metavar == "FILE":
        return FILES
    return (*NUMBERS, TOO_MANY_BYTES if option.type is size else TOO_MANY)


@pytest.mark.parametrize("name", terminals.names())
def test_input_that_is_wrong_is_one_line_and_what_is_not_is_done(name, scripts, tmp_path):
    faults, given = [], small(name)
    for option in options(name):
        is_done = False
        for value in wrong(option):
            argv = [*given, f"{option.option_strings[0]}={value}"]
            if accepts(name, argv):
                if is_done:  # a script takes its time to do what it accepts: of each option one value is enough
                    continue
                is_done = True
            ended = scripts.run(name, argv, Place(), tmp_path)
            done = ended.status == 0 and not ended.err and option.metavar != "FILE"
            if not done and not is_one_line(ended):
                faults.append((argv, ended))
    assert not faults


@pytest.mark.parametrize("argv", [["--sideways"], ["surplus"], ["--json"], ["--json", "a.json", "--csv", "a.json"]])
@pytest.mark.parametrize("name", terminals.names())
def test_what_no_script_knows_is_one_line(name, argv, scripts, tmp_path):
    assert is_one_line(scripts.run(name, argv, Place(), tmp_path))


@pytest.mark.parametrize("name", [name for name in terminals.names() if module(name).parser().default_ranks_on_mpi])
def test_more_processes_than_there_can_be_are_one_line(name, scripts, tmp_path):
    given = [] if on_mpi_only(name) else ["--mpi"]
    ended = scripts.run(name, [*given, "--ranks", "1000000"], Place(), tmp_path)
    assert is_one_line(ended)


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("busbw", ["--ranks", "16", "--min", "8MiB", "--max", "8MiB", "--operations", "alltoall"]),
        ("ring_allreduce", ["--ranks", "8", "--bytes", "8MiB"]),
        ("stragglers", ["--ranks", "16", "--bytes", "2MiB"]),
    ],
)
def test_a_run_takes_about_the_memory_that_the_script_says(name, argv, scripts, tmp_path, monkeypatch):
    said: list[float] = []
    monkeypatch.setattr(limits, "_excess", lambda need, p, on_mpi, most: said.append(need.memory) or "")
    cli._start(module(name).parser(), module(name).prepare, argv)
    idle, busy = (scripts.run(name, each, Place(), tmp_path) for each in (["--help"], argv))
    assert busy.status == 0
    assert said[0] / 3 < busy.peak_bytes - idle.peak_bytes < said[0] * 1.5
