"""The pytest plugin: a test function with the mark runs on every rank, and what fails there is told as usual."""

from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
HEAD = "import numpy as np\nimport pytest\nfrom mpi4py import MPI\n"
UNSAFE = """
    @pytest.mark.ranks(2)
    def test_unsafe(comm):
        comm.send(comm.rank, 1 - comm.rank)
        assert comm.recv() == 1 - comm.rank
"""
RACE = """
    @pytest.mark.ranks(3)
    def test_race(comm):
        if comm.rank == 0:
            assert [comm.recv(), comm.recv()] == [1, 2]
        else:
            comm.send(comm.rank, 0)
"""


@pytest.fixture
def tests_of(pytester, monkeypatch):
    """Return tests_of(text, *options): run the tests in a file with the plugin; return the result."""
    import textwrap

    monkeypatch.setenv("PYTHONPATH", ROOT)  # for processes of real MPI

    def run(text, *options):
        pytester.makepyfile(HEAD + textwrap.dedent(text))
        plugins = ("-p", "mpi.testing.plugin", "-p", "no:xdist", "-p", "no:cacheprovider", "--strict-markers")
        return pytester.runpytest_inprocess(*plugins, *options)

    return run


def test_the_function_runs_on_every_rank_for_every_number_of_ranks(tests_of):
    result = tests_of("""
        @pytest.mark.ranks([1, 2, 3, 7])
        def test_sum(comm, n_ranks, tmp_path):
            (tmp_path / str(comm.rank)).touch()
            comm.Barrier()
            assert len(list(tmp_path.iterdir())) == comm.size == MPI.COMM_WORLD.size == n_ranks
            assert comm.allreduce(comm.rank, op=MPI.SUM) == sum(range(comm.size))

        @pytest.mark.ranks(2)
        @pytest.mark.parametrize("n", [0, 5])
        class TestClass:
            def test_method(self, comm, n):
                assert comm.bcast(n) == n

        def test_without_ranks():
            pass
    """, "-v")  # fmt: skip
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(["*::test_sum[[]7[]] PASSED*", "*::test_method[[]2-0[]] PASSED*"])


def test_what_fails_is_told_with_its_details_and_its_rank(tests_of):
    result = tests_of("""
        def helper(comm):
            comm.Send(np.zeros(1), dest=9)

        @pytest.mark.ranks(3)
        def test_assertion(comm):
            got = comm.allgather(comm.rank)
            if comm.rank == 2:
                assert got == [0, 1, 3]

        @pytest.mark.ranks(2)
        def test_error(comm):
            helper(comm)

        @pytest.mark.ranks(2)
        def test_skipped(comm):
            if comm.rank:
                pytest.skip("not today")
            comm.recv()

        def test_without_mark(comm):
            pass

        @pytest.mark.ranks(0)
        def test_of_none(comm):
            pass
    """.replace("@pytest.mark.ranks(0)", ""))  # fmt: skip
    result.assert_outcomes(failed=2, skipped=1, errors=2)
    out = result.stdout.str()
    assert "At index 2 diff: 2 != 3" in out
    assert "raised on rank 2 of 3" in out
    assert "InvalidRankError: rank 0: Send(dest=9" in out
    assert "running.py" not in out
    assert "remedy: write @pytest.mark.ranks(4) above the test" in out


@pytest.mark.parametrize("given", ["0", "'two'", "[]", "[2, -1]", ""])
def test_a_wrong_number_of_ranks_is_named(tests_of, given):
    result = tests_of(f"@pytest.mark.ranks({given})\ndef test_it(comm): pass")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "expected a number of ranks from 1 up" in result.stdout.str() + result.stderr.str()


def test_an_exit_an_abort_and_an_async_test_are_told_in_a_line_and_a_skip_by_its_reason(tests_of):
    result = tests_of("""
        @pytest.mark.ranks(2)
        def test_exit(comm):
            raise SystemExit(3)

        @pytest.mark.ranks(2)
        def test_abort(comm):
            if comm.rank:
                comm.Abort(4)
            comm.recv()

        @pytest.mark.ranks(2)
        async def test_async(comm):
            pass

        @pytest.mark.ranks(2)
        def test_skip(comm):
            if comm.rank:
                pytest.skip("not here")
            comm.recv()
    """, "-rs")  # fmt: skip
    result.assert_outcomes(failed=3, skipped=1)
    result.stdout.fnmatch_lines([
        "*_ test_exit?2? _*", "rank 0: the end of its program: got an exit with 3*",
        "*_ test_abort?2? _*", "rank 1: Abort() at *: got Abort with errorcode 4*",
        "*_ test_async?2? _*", "got an async test function, expected a plain one*",
        "SKIPPED * not here",
    ])  # fmt: skip
    assert "carrying_out.py" not in result.stdout.str()
    assert "raised on rank" not in result.stdout.str()


RAISING = """
    @pytest.mark.ranks(2)
    @pytest.mark.xfail(raises=(KeyError, ValueError))
    def test_expected(comm):
        if comm.rank:
            raise ValueError
        comm.recv()
"""


def test_a_mark_says_what_a_test_is_expected_to_raise_hangs_and_ends_included(tests_of):
    result = tests_of(RAISING + """
    import ranks

    @pytest.mark.ranks(2)
    @pytest.mark.xfail(raises=KeyError)
    def test_unexpected(comm):
        raise ValueError

    @pytest.mark.ranks(2)
    @pytest.mark.xfail(raises=ranks.DeadlockError)
    def test_hang(comm):
        comm.recv()

    @pytest.mark.ranks(2)
    @pytest.mark.xfail(raises=ranks.AbortError)
    def test_abort(comm):
        comm.Abort(3)

    @pytest.mark.ranks(2)
    @pytest.mark.xfail(raises=ranks.DeadlockError)
    def test_exit(comm):
        raise SystemExit(3)
    """)  # fmt: skip
    result.assert_outcomes(failed=2, xfailed=3)
    result.stdout.fnmatch_lines(["FAILED *test_unexpected*", "FAILED *test_exit*"])
    assert "carrying_out" not in result.stdout.str()


def test_a_hang_is_a_failure_with_its_report(tests_of):
    result = tests_of("""
        @pytest.mark.ranks(2)
        def test_hang(comm):
            comm.recv(source=1 - comm.rank)
    """)  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "DeadlockError at t=0 µs: ranks 0 and 1 wait for each other*",
        "  rank 0  recv(source=1, tag=ANY_TAG)  test_*.py:7  waits for rank 1 to send*",
    ])  # fmt: skip


def test_buffering_may_be_chosen_or_be_all(tests_of):
    tests_of(UNSAFE).assert_outcomes(passed=1)
    tests_of(UNSAFE, "--ranks-buffering=none").assert_outcomes(failed=1)
    result = tests_of(UNSAFE, "--ranks-buffering=all", "-v")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*::test_unsafe[[]2-none[]] FAILED*"])


def test_every_schedule_is_tried_if_asked_for(tests_of):
    tests_of(RACE).assert_outcomes(passed=1)
    result = tests_of(RACE, "--ranks-explore")
    result.assert_outcomes(failed=1)
    out = result.stdout.str()
    assert "[2, 1] == [1, 2]" in out
    assert "replay='none:1'" in out


def test_tests_for_mpi_pytest_run_without_mpiexec(tests_of):
    text = """
        @pytest.mark.parallel(nprocs=2)
        def test_two():
            assert MPI.COMM_WORLD.size == 2

        @pytest.mark.parallel
        def test_default():
            assert MPI.COMM_WORLD.size == 3

        @pytest.mark.parallel([1, 4])
        def test_several():
            assert MPI.COMM_WORLD.allreduce(1) in (1, 4)
    """
    tests_of(text, "--ranks-parallel").assert_outcomes(passed=4)


def test_the_same_tests_run_on_real_mpi(tests_of):
    result = tests_of(RAISING + """
    @pytest.mark.ranks(2)
    def test_on_both(comm):
        assert "simulated" not in repr(MPI.__file__)
        assert comm.allreduce(comm.rank) == 1
        assert comm.rank == 0, "this rank is 1"

    @pytest.mark.ranks(2)
    def test_skipped(comm):
        if comm.rank:
            pytest.skip("not there")
        comm.recv()
    """, "--ranks-mpi", "-rs")  # fmt: skip
    result.assert_outcomes(failed=1, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["SKIPPED * not there"])
    out = result.stdout.str()
    assert "on 2 processes of real MPI:" in out
    assert "rank 1 of 2:" in out
    assert "this rank is 1" in out


def test_a_file_that_has_the_mark_in_a_text_only_finds_the_installed_mpi4py(tests_of):
    result = tests_of("""
        import sys
        TEXT = "@pytest.mark.ranks(2)"

        def test_it():
            assert "as_mpi4py" not in sys.modules["mpi4py"].__file__
    """)  # fmt: skip
    result.assert_outcomes(passed=1)


def test_options_that_contradict_each_other_are_refused(tests_of):
    result = tests_of("", "--ranks-mpi", "--ranks-explore")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "got --ranks-explore and --ranks-mpi, expected one of them" in result.stderr.str()
