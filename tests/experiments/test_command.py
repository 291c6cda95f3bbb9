"""Claims about the command `gears`, and about what all experiments have in common: options, help, tables, output."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ranks
from experiments import __main__ as gears
from experiments.lab import cli, contents, progress, tables, terminal, units, versions, worlds
from experiments.lab.tables import Bound, Column, pair, time_column
from processes import HANG_S
from ranks import real

FOLDER = Path(gears.__file__).parent
ENTRIES = contents.contents()
ALL = pytest.mark.parametrize("name", ENTRIES)


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes output go to a terminal of so many columns."""

    def make(number: int) -> None:
        monkeypatch.setattr(terminal, "is_shown", lambda: True)
        monkeypatch.setenv("COLUMNS", str(number))

    return make


def options(name: str) -> list[argparse.Action]:
    """Return the options of an experiment, but for --help."""
    return ENTRIES[name].module().parser()._actions[1:]


# -- which experiments there are -----------------------------------------------------------------------------


def test_every_script_is_an_experiment_with_a_question() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__"}
    assert {name.replace("-", "_") for name in ENTRIES} == scripts
    for entry in ENTRIES.values():
        assert "?" in entry.question
        assert entry.shows.endswith(".")


def test_a_new_script_appears_by_itself_and_one_that_cannot_be_read_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    (tmp_path / "__main__.py").write_text("not read")
    script = tmp_path / "how_far.py"
    script.write_text('"""How far?\n\nMore."""\nSHOWS = "A way."\nTAKES = "1 s"\n')
    assert contents.contents(tmp_path) == {"how-far": contents.Entry("how-far", "How far?", "A way.", "1 s")}
    for text, problem in (
        ('"""How far?"""\nSHOWS = "A way."', "how_far.py: expected TAKES, a line of text each, for `gears list`"),
        ("1 +", "invalid syntax (how_far.py, line 1)"),
        ("\0", "null bytes"),
    ):
        script.write_text(text)
        found = contents.contents(tmp_path)
        assert problem in found["how-far"].problem
        monkeypatch.setattr(gears, "contents", lambda found=found: ENTRIES | found)
        for argv in ["list"], ["completion", "bash"]:
            assert gears.main(argv) == 0
            assert "who-wins" in capsys.readouterr().out
    gears.main(["list"])
    assert "how-far  (cannot be read)\n" in capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_list_names_question_and_duration_of_each(width: int, columns: Any, capsys: Any) -> None:
    columns(width)
    assert gears.main(["list"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    said = " ".join(out.split())
    for entry in ENTRIES.values():
        assert f"{entry.name} (about {entry.takes}) {entry.question}" in said


def test_an_experiment_runs_with_its_own_options_and_asks_first(capsys: Any) -> None:
    assert gears.main(["traffic", "--ranks", "2"]) == 0
    assert capsys.readouterr().out.startswith(ENTRIES["traffic"].question)
    assert gears.main(["traffic", "--ranks", "1"]) == 2
    assert (
        capsys.readouterr().err
        == "gears traffic: argument --ranks: got '1', expected a whole number from 2 up; see --help\n"
    )


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["prces"], "got 'prces', expected a command or an experiment; did you mean gears prices?"),
        (["list", "now"], "got 'list now', expected gears list"),
        (["completion"], "got 'completion', expected gears completion and a shell, one of bash, zsh, tcsh"),
        (["xyzzy"], "got 'xyzzy', expected a command or an experiment; see gears --help"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_status_2(argv: list[str], says: str, capsys: Any) -> None:
    assert gears.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert len(err.splitlines()) == 1


def test_links_of_two_kinds_are_told_apart() -> None:
    in_a_node, between = worlds.Simulated(16, ranks.presets["dgx-h100"]).name.splitlines()[-2:]
    assert (in_a_node.endswith(" GB in a node"), between.endswith(" GB between")) == (True, True)
    assert worlds.Simulated(8, ranks.presets["dgx-h100"]).name.endswith(" GB")
    assert worlds.Simulated(16, ranks.presets["infiniband"]).name.count("alpha") == 1


def test_without_a_command_it_says_how_to_begin(capsys: Any) -> None:
    for argv in [], ["list", "--help"], ["completion", "-h"]:
        assert gears.main(argv) == 0
        assert "gears ring-allreduce" in capsys.readouterr().out


def test_versions_name_what_a_report_needs(monkeypatch: Any, capsys: Any) -> None:
    assert gears.main(["version"]) == 0
    out = capsys.readouterr().out
    for what in (np.__version__, sys.version.split()[0], "SIMD: ", "MPI:", str(real.find_mpiexec()), "cores"):
        assert what in out
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert versions.versions()["MPI"].startswith("not found: ")


# -- completion ----------------------------------------------------------------------------------------------


def completed(script: str, *words: str) -> set[str]:
    """Return what bash offers for the last word."""
    typed = f"COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}"
    lines = [script, f"{typed}; _shtab_gears", "printf '%s\\n' \"${COMPREPLY[@]}\""]
    run = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=HANG_S, check=True)
    return set(run.stdout.split())


def test_a_shell_completes_experiments_options_and_values(capsys: Any) -> None:
    assert gears.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert completed(script, "gears", "r") == {"ring-allreduce", "run"}
    assert completed(script, "gears", "busbw", "--st") == {"--step-factor"}
    assert completed(script, "gears", "ulysses", "--network", "dgx") == {"dgx-h100", "dgx-a100-shared"}


def test_completion_without_its_library_names_the_extra(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(gears, "find_spec", lambda name: None)
    assert gears.main(["completion", "bash"]) == 2
    assert 'shtab is not installed; remedy: install the extra "show"' in capsys.readouterr().err


# -- options -------------------------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_asks_explains_every_option_and_fits(name: str, width: int, columns: Any) -> None:
    columns(width)
    parser = ENTRIES[name].module().parser()
    parser.prog = f"gears {name}"
    text = parser.format_help()
    said = " ".join(text.split())
    assert " ".join(ENTRIES[name].question.split()) in said
    assert max(map(len, text.splitlines())) <= width
    for action in options(name):
        assert action.help
        assert action.option_strings[0] in said


@ALL
def test_the_examples_of_help_are_taken(name: str, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    parser = ENTRIES[name].module().parser()
    assert "" in parser.examples
    for example in parser.examples:
        parser.parse_args(shlex.split(example))
        assert len(f"  gears {name} {example}") <= 78


@ALL
def test_help_is_folded_between_words_and_never_inside_of_a_name(name: str, columns: Any) -> None:
    for width in range(60, 100):
        columns(width)
        assert not re.search(r"\w-$", ENTRIES[name].module().parser().format_help(), re.MULTILINE)


@ALL
def test_what_is_expected_fits_a_narrow_terminal(name: str) -> None:
    expected = getattr(ENTRIES[name].module(), "EXPECTED", "")
    assert [line for line in expected.splitlines() if line.startswith(" ") and len(line) > 80] == []


def test_an_option_cannot_be_abbreviated_since_a_later_one_could_begin_alike(capsys: Any) -> None:
    assert gears.main(["prices", "--operation", "reduce"]) == 2
    assert "unrecognized arguments: --operation reduce" in capsys.readouterr().err


def test_an_option_means_the_same_everywhere() -> None:
    kinds: dict[str, set[Any]] = {}
    for name in ENTRIES:
        for action in options(name):
            kind = getattr(action.type, "__qualname__", action.type), action.nargs, action.metavar
            kinds.setdefault(action.option_strings[0], set()).add(kind)
    assert {option: kind for option, kind in kinds.items() if len(kind) > 1} == {}
    assert {"--csv", "--json", "--ranks", "--network", "--plot", "--seed"} <= kinds.keys()
    ranks_of = [each.help for name in ENTRIES for each in options(name) if each.option_strings[0] == "--ranks"]
    assert [text for text in ranks_of if not str(text).startswith("number of ranks, ")] == []
    assert all({"--csv", "--json"} <= {each.option_strings[0] for each in options(name)} for name in ENTRIES)


# -- tables --------------------------------------------------------------------------------------------------

NAMES = st.text("abcdefgh_", min_size=1, max_size=25)
CELLS = st.none() | st.integers(0, 10**9) | st.text("xyz", max_size=12)


@settings(max_examples=40)
@given(st.data(), st.integers(30, 130))
def test_a_table_fits_any_terminal_and_names_every_row_in_full(data: Any, width: int) -> None:
    headings = data.draw(st.lists(st.sampled_from(["time", "most bytes sent", ""]), min_size=1, max_size=4))
    made = [Column("algorithm"), *(column for each in headings for column in pair(each))]
    rows = data.draw(st.lists(st.tuples(NAMES, *(CELLS for _ in made[1:])), min_size=1, max_size=4))
    with pytest.MonkeyPatch.context() as patch:
        out = io.StringIO()
        patch.setattr(sys, "stdout", out)
        patch.setattr(terminal, "width", lambda: width)
        tables.table(made, rows)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for name, *cells in rows:
        assert any(line.split()[:1] == [name] for line in lines)
        for cell in cells:
            assert cell is None or str(cell) in out.getvalue().replace(",", "")


def test_numbers_have_no_exponent_where_they_are_large() -> None:
    shown = [units.decimals(form)(number) for form, number in ((".2g", 168.0), (".3g", 12345), (".3f", 1e7))]
    assert shown == ["170", "12,300", "10000000.000"]
    assert [units.nice_bytes(n) for n in (0, 1023, 2**40, 5 * 2**60, 10**24)] == [
        "0 B",
        "1023 B",
        "1 TiB",
        "5 EiB",
        "867,400 EiB",
    ]
    assert [units.decimals(".2g")(number) for number in (0.5, 0.0, 3e-7, 99.4)] == ["0.5", "0", "3e-07", "99"]


COLUMNS = [Column("algorithm"), *pair("rounds"), *pair("time", str, "ps"), Column("verdict")]
ROWS = [["ring", 3, 3, 1.5, 2, None], ["naive", 2, 2, Bound("≤", 7), np.float64(5), "slow"]]


def test_what_agrees_is_shown_once_before_rows_become_paragraphs(monkeypatch: Any, capsys: Any) -> None:
    def shown(width: int | None) -> str:
        monkeypatch.setattr(terminal, "width", lambda: width)
        tables.table(COLUMNS, ROWS)
        return capsys.readouterr().out

    assert shown(None).count("measured") == 2
    assert shown(52).count("measured") == 1
    assert "as expected" in shown(52)
    assert "\nnaive\n  rounds   2, as expected\n  time     expected ≤ 7,\n           measured 5.0\n" in shown(30)


def test_a_row_that_becomes_a_paragraph_reads_as_a_sentence_would(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(terminal, "width", lambda: 42)
    made = [Column("ranks"), Column("sort", names=True), Column("comparator", "ns a"), *pair("time"), Column("proved")]
    tables.table(made, [[4, "bitonic", 19, 5, 7, ""]])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "ranks / sort:",
        "",
        "4 / bitonic",
        "  ns a comparator  19",
        "  time             expected 5, measured 7",
        "",
    ]


def test_a_heading_stands_over_its_columns_and_makes_room_if_it_must(capsys: Any) -> None:
    made = [Column("case"), Column("p", "how many of them"), Column("n", "how many of them"), Column("q", "x")]
    tables.table([*made, Column("b", "wide heading")], [["one", 12, 3, 4, 5]])
    assert capsys.readouterr().out.splitlines() == [
        "",
        "        how many of them   x   wide heading",
        " case              p   n   q              b",
        " ──────────────────────────────────────────",
        " one              12   3   4              5",
        "",
    ]


@pytest.mark.parametrize(
    ("argv", "keys"),
    [
        (["busbw", "--operations", "allreduce", "reduce", "--max", "1KiB"], ["bytes", "algorithm"]),
        (["stragglers", "--ranks", "4", "--bytes", "1KiB"], ["algorithm", "undisturbed_t_ps"]),
        (["float-order", "--ranks", "4"], ["algorithm", "additions_in_a_chain"]),
        (["who-wins", "--ranks", "2", "--operations", "alltoall", "reduce"], ["ranks", "256_b"]),
    ],
)
def test_every_row_of_a_csv_says_in_the_same_column_what_it_is(
    argv: list[str], keys: list[str], tmp_path: Path, capsys: Any
) -> None:
    assert gears.main([*argv, "--csv", str(tmp_path / "x.csv")]) == 0
    with open(tmp_path / "x.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]][:3] == ["table", *keys]
    assert len({row["table"] for row in rows}) > 1
    assert all(row[keys[0]] for row in rows)


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (["ring", "-", "1f1b"], True),
        (["1 of 28 arrays: table", ""], True),
        (["halving_doubling 163.4 µs"], True),
        (["≥ 12", "1.5 GiB", "85 (2.18)", "never"], False),
        (["<= 2,700", "~0.246", "-15%", "1/64", "1e-07"], False),
        (["8 or 10", "8", "8"], False),
        (["-", ""], False),
        ([], False),
    ],
)
def test_words_begin_at_the_left_and_numbers_end_at_the_right(texts: list[str], left: bool, capsys: Any) -> None:
    assert tables.begins_left(texts) == left
    tables.table(["name", "n" * 30], [[f"row {i}", text] for i, text in enumerate(texts)])
    lines = capsys.readouterr().out.splitlines()[-len(texts) - 1 : -1] if texts else []
    assert lines == [f" row {i}   {text:{'<' if left else '>'}30}".rstrip() for i, text in enumerate(texts)]


@pytest.mark.parametrize(("texts", "left"), [(["4 KiB"], True), (["2", "1,024"], False), (["2", "all"], True)])
def test_what_names_a_row_begins_at_the_left_unless_it_is_a_whole_number(texts: list[str], left: bool) -> None:
    assert tables.begins_left(texts, names=True) == left


def test_tables_are_kept_with_their_values(capsys: Any) -> None:
    with tables.kept() as found:
        tables.table(COLUMNS, ROWS, "first")
    keys = ["algorithm", "rounds_expected", "rounds_measured", "time_expected_ps", "time_measured_ps", "verdict"]
    text = tables.as_csv(found)
    assert text.splitlines()[0].split(",") == keys
    read = list(csv.DictReader(io.StringIO(text)))
    assert read[1]["time_expected_ps"] == "<=7"
    assert float(read[1]["time_measured_ps"]) == 5
    assert read[0]["verdict"] == ""
    known = json.loads(tables.as_json(found, {"question": "?"}))
    assert known["tables"][0]["name"] == "first"
    assert known["tables"][0]["rows"][0] == dict(zip(keys, ["ring", 3, 3, 1.5, 2, None], strict=True))
    with tables.kept() as found:
        tables.table(COLUMNS, ROWS, "first")
        tables.table(["what", "how\nmuch"], [["a", "1"]], "second")
    both = list(csv.DictReader(io.StringIO(tables.as_csv(found))))
    assert [(row["table"], row["algorithm"], row["how_much"]) for row in both] == [
        ("first", "ring", ""), ("first", "naive", ""), ("second", "", "1"),
    ]  # fmt: skip


def test_an_experiment_writes_its_tables(tmp_path: Path, capsys: Any) -> None:
    kept = tmp_path / "t.json"
    assert gears.main(["stragglers", "--ranks", "4", "--json", str(kept), "--csv", str(tmp_path / "t.csv")]) == 0
    known = json.loads(kept.read_text())
    assert known["experiment"] == "gears stragglers"
    assert [each["name"] for each in known["tables"]] == ["added", "with ports"]
    assert known["tables"][0]["rows"][0]["late_rank_measured_ps"] == 100_000_000
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert len(rows) == 12
    assert f"wrote {kept}" in capsys.readouterr().out


# -- what a terminal gets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize(
    "argv",
    [
        ["ring-allreduce", "--ranks", "4", "--bytes", "1KiB"],
        ["stragglers", "--ranks", "4", "--bytes", "1KiB"],
        ["traffic", "--ranks", "2"],
        ["prices", "--ranks", "4", "--bytes", "1KiB"],
        ["hang-gallery", "--case", "wrong_tag"],
        ["hang-gallery", "--list"],
    ],
    ids=" ".join,
)
def test_output_fits_the_terminal(argv: list[str], width: int, columns: Any, capsys: Any) -> None:
    columns(width)
    assert gears.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    # Code is shown as it stands.
    assert [line for line in lines if len(line) > width and not line.startswith("    ")] == []


class Ascii(io.TextIOWrapper):
    """An output that knows ASCII only."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", write_through=True)

    def text(self) -> str:
        return self.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]


@pytest.mark.parametrize("argv", [["stragglers", "--ranks", "4"], ["stragglers", "--help"], ["list"]], ids=" ".join)
def test_output_that_knows_ascii_only_gets_no_other_characters_and_no_error(argv: list[str], monkeypatch: Any) -> None:
    out = Ascii()
    monkeypatch.setattr(sys, "stdout", out)
    with contextlib.suppress(SystemExit):  # of --help
        assert gears.main(argv) == 0
    assert len(out.text()) > 500
    assert "?" not in out.text().replace("?\n", "").replace("? ", "")


@pytest.mark.parametrize(
    ("text", "said"), [("≤ 3 µs", "<= 3 us"), ("√β", "sqrtbeta"), ("é", "e"), ("日", "?"), ("plain", "plain")]
)
def test_other_characters_are_said_in_ascii(text: str, said: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdout", Ascii())
    assert terminal.plain(text) == said


def test_text_is_folded_between_words_and_only_where_it_must_be() -> None:
    assert terminal.folded("  ring   p-1 messages", 16) == "  ring   p-1\n      messages"
    assert terminal.folded("Data: 25 MiB on each", 14) == "Data: 25 MiB\n      on each"
    assert terminal.folded("one two three\nfour", 8) == "one two\nthree\nfour"
    assert terminal.folded("as wide as it is", None) == "as wide as it is"


class Terminal(io.StringIO):
    """An output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_many_are_done_and_a_pipe_nothing(monkeypatch: Any) -> None:
    for stream, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(progress.track([7, 8], "counting", steady=False)) == [7, 8]
        with progress.waiting("thinking"):
            pass
        for word in ("counting", "2/2", "thinking"):
            assert (word in stream.getvalue()) is is_shown


def test_behind_the_pipe_of_mpiexec_is_a_terminal_if_the_launcher_says_so(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: True)
    with cli._terminal_for_children():
        assert os.environ["TTY_COMPATIBLE"] == "1"
        told = dict(os.environ)
    assert "TTY_COMPATIBLE" not in os.environ
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: False)
    with cli._terminal_for_children():
        assert "TTY_COMPATIBLE" not in os.environ
    assert terminal.width() is None
    monkeypatch.setenv("TTY_COMPATIBLE", told["TTY_COMPATIBLE"])
    assert terminal.width() == 50
    assert list(progress.track("ab", "counting")) == ["a", "b"]
    out, err = capsys.readouterr()
    assert "counting" in out  # where the tables go too, so that neither wipes the other
    assert err == ""


def test_time_columns_show_units_and_keep_picoseconds() -> None:
    column = time_column("measured", "time")
    assert (column.key, column.text(2_700_000), column.text(None)) == ("time_measured_ps", "2.700 µs", "-")
