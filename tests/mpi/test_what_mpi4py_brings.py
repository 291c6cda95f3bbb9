"""`import mpi4py` on simulated ranks: the package, its utilities and its futures; and threads, which may not wait."""

import pytest

FUTURES = """
    from concurrent import futures as standard
    from mpi4py.futures import MPIPoolExecutor, as_completed

    BASE = []

    class Square:
        def __init__(self, x):
            self.area = x * x

    def square(x):
        return Square(x)

    def fail(x):
        raise KeyError(x)

    def begin(x):
        BASE.append(x)

    def base(x):
        return BASE[0] + x

    if __name__ == "__main__":
        with MPIPoolExecutor(max_workers=2) as executor:
            futures = [executor.submit(square, x) for x in range(7)]
            print(*(each.area for each in executor.map(square, range(7))), executor.num_workers)
            print(sorted(each.result().area for each in as_completed(futures)), futures[0].done())
            print(len(standard.wait(executor.submit(square, x) for x in range(3)).done))
            print(repr(executor.submit(fail, 1).exception()))
            print(sum(each.area for each in executor.starmap(square, [(2,), (3,)], unordered=True)))
        try:
            executor.submit(square, 1)
        except RuntimeError as error:
            print(error, executor.num_workers)
        with MPIPoolExecutor(initializer=begin, initargs=(5,)) as executor:
            print(set(executor.map(base, [1] * 8)), repr(executor.submit(exit, 4).exception()))
            unpicklable = executor.submit(square, (x for x in "1")).exception()
            print(type(unpicklable).__name__, executor.submit(square, 2).result().area)
        try:
            MPIPoolExecutor(initializer=fail, initargs=(1,)).submit(square, 1)
        except standard.BrokenExecutor as error:
            print(error)
"""
ANSWERS = [
    "[0, 1, 4, 9, 16, 25, 36] True", "3", "KeyError(1)", "13", "cannot submit after shutdown 0",
    "{6} SystemExit(4)", "TypeError 4", "the initializer has failed",
]  # fmt: skip


def test_the_package_has_what_programs_take_from_it(launch):
    done = launch(1, """
        import mpi4py
        mpi4py.rc(recv_mprobe=False)
        import mpi4py.MPI as one
        from mpi4py import MPI as two, rc
        assert one is two is mpi4py.MPI and rc.recv_mprobe is False and mpi4py.get_config() == {}
        mpi4py.profile("mpe")
        try:
            rc(wrong=1)
        except TypeError as error:
            print(mpi4py.__version__, error)
    """)  # fmt: skip
    assert done == (
        0,
        [
            "4.1.2 mpi4py.rc: got option 'wrong', expected one of initialize, threads, thread_level, finalize, "
            "fast_reduce, recv_mprobe, irecv_bufsz, errors",
        ],
        "",
    )


def test_each_rank_has_options_of_its_own_and_they_have_effect(launch):
    done = launch(2, {"main.py": "", "options.py": """
        import os
        from mpi4py import rc
        if os.environ["PMI_RANK"] == "1":
            rc.initialize, rc.thread_level, rc.irecv_bufsz = False, "funneled", 100
        from mpi4py import MPI
        comm = MPI.COMM_WORLD
        assert MPI.Is_initialized() == (comm.rank == 0) and rc.irecv_bufsz == (100 if comm.rank else 32768)
        assert MPI.Query_thread() == (MPI.THREAD_FUNNELED if comm.rank else MPI.THREAD_MULTIPLE)
        sent = comm.isend("x" * 200, 1 - comm.rank)
        try:
            print(len(comm.irecv().wait()))
        except MPI.Exception as error:
            print(error.Get_error_class() == MPI.ERR_TRUNCATE)
        sent.wait()
        rc.irecv_bufsz = 1  # too late
        try:
            MPI.Init_thread(MPI.THREAD_SINGLE)
            assert MPI.Is_initialized() and MPI.Query_thread() == MPI.THREAD_SINGLE
        except MPI.Exception as error:
            assert comm.rank == 0 and error.Get_error_class() == MPI.ERR_OTHER
            assert "got a second Init" in str(error)
    """}, args=("options.py",))  # fmt: skip
    assert (done.status, sorted(done.lines), done.err) == (0, ["200", "True"], "")


def test_the_environment_sets_options_and_unknown_values_are_warned_about(launch, monkeypatch):
    text = """
        from mpi4py import rc
        rc.thread_level = "maybe"
        from mpi4py import MPI
        print(MPI.Is_initialized(), rc.initialize, rc.irecv_bufsz, MPI.Query_thread() == MPI.THREAD_MULTIPLE)
        print(MPI.COMM_WORLD.Get_errhandler() == MPI.ERRORS_ARE_FATAL)
        print(MPI.COMM_WORLD.allreduce(0.1 * (MPI.COMM_WORLD.rank + 1)), MPI.COMM_WORLD.exscan("a"))
    """
    for name, value in {"INITIALIZE": "False", "IRECV_BUFSZ": "9", "ERRORS": "fatal", "FAST_REDUCE": "no"}.items():
        monkeypatch.setenv(f"MPI4PY_RC_{name}", value)
    with pytest.warns(RuntimeWarning, match="mpi4py.rc.thread_level: unexpected value 'maybe'") as caught:
        done = launch(1, {"main.py": "", "options.py": text}, args=("options.py",))
    assert done == (0, ["False False 9 True", "True", "0.1 None"], "")
    assert caught[0].filename.endswith("options.py")


@pytest.mark.parametrize("name", ["reduce", "allreduce", "scan", "exscan"])
def test_without_fast_reduce_objects_are_reduced_in_the_order_of_ranks(launch, name):
    text = f"""
        from mpi4py import rc
        rc.fast_reduce = "no"
        from mpi4py import MPI
        comm = MPI.COMM_WORLD
        print(comm.rank, comm.{name}(str(comm.rank), op=lambda a, b: "(" + a + b + ")"))
    """
    prefixes = ["0", "(01)", "((01)2)", "(((01)2)3)"]
    expected = {
        "reduce": [prefixes[3], None, None, None], "allreduce": [prefixes[3]] * 4, "scan": prefixes,
        "exscan": [None, *prefixes[:3]],
    }[name]  # fmt: skip
    done = launch(4, {"main.py": "", "order.py": text}, args=("order.py",))
    assert sorted(done.lines) == [f"{rank} {value}" for rank, value in enumerate(expected)]


def test_mpi_begins_once_and_nothing_comes_after_its_end(launch):
    for text, error in {
        "MPI.Init()": "got a second Init: the import of MPI is the first, expected one",
        "MPI.Finalize(); MPI.Finalize()": "got a second Finalize, expected one",
        "MPI.Finalize(); comm.Barrier()": "got a call after Finalize, expected none",
        "MPI.Finalize(); comm.rank": "got a call after Finalize, expected none",
    }.items():
        done = launch(2, text)
        assert done.status == 1
        assert error in done.err
    text = "MPI.Finalize(); print(MPI.Is_finalized(), MPI.Get_version() > (3, 0), MPI.Is_initialized())"
    assert launch(1, text).lines == ["True True True"]


def test_futures_are_computed_by_the_other_ranks(launch):
    for n, n_workers in ((4, 3), (2, 1), (1, 1)):
        done = launch(n, FUTURES, args=("-m", "mpi4py.futures", "main.py"))
        assert done == (0, [f"0 1 4 9 16 25 36 {n_workers}", *ANSWERS], "")


def test_workers_have_a_communicator_and_a_comm_executor_gives_them_its_tasks(launch):
    text = """
        from mpi4py.futures import MPICommExecutor, MPIPoolExecutor, get_comm_workers

        def total(x):
            return get_comm_workers().allreduce(x), get_comm_workers().size

        if __name__ == "__main__":
            with MPIPoolExecutor() as executor:
                print(list(executor.map(total, range(executor.num_workers))))
            with MPICommExecutor() as executor:
                print(sorted(executor.map(abs, [-1, -2])))
    """
    for n, totals in ((4, [(3, 3)] * 3), (1, [(0, 1)])):
        assert launch(n, text, args=("-m", "mpi4py.futures", "main.py")) == (0, [str(totals), "[1, 2]"], "")
    wrong = launch(2, "", args=("-m", "mpi4py.futures", "none.py"))
    assert (wrong.status, wrong.err.splitlines()[0]) == (
        1, "mpi4py.futures: got none.py, expected a file; remedy: name it behind -m mpi4py.futures",
    )  # fmt: skip


def test_without_workers_a_rank_computes_its_futures_itself(launch):
    done = launch(1, FUTURES)
    assert done.lines[1:] == ANSWERS


def test_an_executor_on_a_communicator_gives_its_root_the_others(launch):
    done = launch(3, """
        from mpi4py.futures import MPICommExecutor

        def where(x):
            return x, MPI.COMM_WORLD.rank != 1

        with MPICommExecutor(comm, root=1) as executor:
            if executor is not None:
                print(list(executor.map(where, range(4))))
        comm.Barrier()
        assert comm.allreduce(1) == 3
    """)  # fmt: skip
    assert done == (0, [str([(x, True) for x in range(4)])], "")


def test_dtypes_become_datatypes_and_back(launch):
    done = launch(2, """
        import numpy as np
        from mpi4py.util import dtlib, pkl5
        assert all(dtlib.to_numpy_dtype(dtlib.from_numpy_dtype(code)) == np.dtype(code) for code in "bhilqfdFD")
        dtype = np.dtype([("a", "i4"), ("b", "f8", 3)], align=True)
        x = np.zeros(2, dtype)
        x["b"] = [[1, 2, 3], [4, 5, 6 + comm.rank]]
        datatype = dtlib.from_numpy_dtype(dtype).Commit()
        got = np.zeros(2, dtype)
        comm.Sendrecv([x, 2, datatype], 1 - comm.rank, recvbuf=[got, 2, datatype], source=1 - comm.rank)
        print(datatype.Get_extent()[1] == dtype.itemsize, got["b"].sum(), pkl5.Intracomm(comm).allgather(comm.rank))
    """)  # fmt: skip
    assert (done.status, sorted(done.lines)) == (0, ["True 21.0 [0, 1]", "True 22.0 [0, 1]"])


def test_a_thread_knows_its_rank_but_may_not_communicate(launch):
    done = launch(2, """
        import random, threading, time
        found = []

        def work():
            time.sleep(0.001)
            found.append((MPI.COMM_WORLD.rank, random.random()))
            try:
                MPI.COMM_WORLD.recv()
            except MPI.Exception as error:
                found.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        comm.Barrier()
        thread.join()
        assert found[0] == (comm.rank, random.Random(f"0/{comm.rank}").random()), found
        print(found[1].partition("got ")[2])
    """)  # fmt: skip
    assert (done.status, sorted(done.lines)) == (0, [
        f"a communicator of rank {rank} used by a thread that rank {rank} has started, expected a call by the rank "
        "itself; remedy: let threads compute and the program communicate, or start what communicates with ranks.start"
        for rank in (0, 1)
    ])  # fmt: skip


def test_a_program_ends_after_its_threads(launch):
    done = launch(1, """
        import threading, time
        def late():
            time.sleep(0.05)
            sys.stdout.write("late\\n")
        threading.Thread(target=late).start()
        print("end")
    """)  # fmt: skip
    assert done.lines == ["end", "late"]


@pytest.mark.parametrize("n", [1, 3])
def test_the_first_command_that_mpi4py_s_manual_names_says_hello_and_a_message_goes_round(launch, n):
    hello = launch(n, "", args=("-m", "mpi4py.bench", "helloworld"))
    assert [line.partition(" on ")[0] for line in hello.lines] == [
        f"Hello, World! I am process {rank} of {n}" for rank in range(n)
    ]
    ring = launch(
        n, "", "--network", "ethernet", args=("-m", "mpi4py.bench", "ringtest", "-n", "8", "-l", "3", "-s", "1")
    )
    (line,) = ring.lines
    assert line.startswith("time for 3 loops = ")
    assert line.endswith(f" seconds ({n} processes, 8 bytes)")
    assert launch(n, "", args=("-m", "mpi4py.bench", "ringtest", "-q")) == (0, [], "")
    wrong = launch(n, "", args=("-m", "mpi4py.bench", "pong"))
    assert (wrong.status, wrong.err.count("invalid choice: 'pong'")) == (2, 1)
    assert launch(n, "", args=("-m", "mpi4py.bench", "--help")).status == 0
