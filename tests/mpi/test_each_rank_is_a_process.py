"""A program that `python -m mpi` runs finds in every rank what it finds in a process of its own."""

import io
import logging
import os
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from mpi.launch.modules import UsersLoader
from mpi.launch.mpi4py_names import is_installed
from mpi.launch.streams import Output, Reader, Writer

HEAD = "import sys\nfrom mpi4py import MPI\ncomm = MPI.COMM_WORLD\n"
HEAD = "import sys\nfrom mpi4py import MPI\ncomm = MPI.COMM_WORLD\n"
RANK = "from mpi4py import MPI\nRANK = MPI.COMM_WORLD.rank\n"


def test_every_rank_has_its_own_modules_and_shares_installed_ones(launch):
    done = launch(3, {
        "helper.py": RANK,
        "package/__init__.py": "from . import inner",
        "package/inner.py": RANK,
        "space/inner.py": RANK,
        "package/user.py": "from .inner import RANK\nfrom . import inner\nassert inner.RANK == RANK",
        "main.py": """
            import importlib, helper, package.user, numpy, space.inner
            from package import inner
            comm.Barrier()
            assert space.inner.RANK == comm.rank and sys.modules["space"].inner is space.inner
            assert importlib.import_module("package.inner") is inner is sys.modules["package.inner"]
            assert sys.modules["helper"] is helper and sys.modules["__main__"].comm is comm
            import late
            comm.Barrier()
            ranks = helper.RANK, inner.RANK, package.user.RANK, late.RANK, importlib.reload(helper).RANK
            assert len(set(comm.allgather(id(numpy)))) == 1 and len(set(comm.allgather(id(helper)))) == comm.size
            print(*ranks)
        """,
        "late.py": "from mpi4py import MPI\nMPI.COMM_WORLD.Barrier()\n" + RANK,
    })  # fmt: skip
    assert (done.status, sorted(done.lines), done.err) == (0, ["0 0 0 0 0", "1 1 1 1 1", "2 2 2 2 2"], "")


def test_code_is_compiled_once_per_file(launch, monkeypatch):
    compiled = []
    compile_ = UsersLoader.source_to_code
    monkeypatch.setattr(UsersLoader, "source_to_code", lambda *args: compiled.append(args[2]) or compile_(*args))
    assert launch(5, {"a.py": "import b", "b.py": "", "main.py": "import a"}).status == 0
    assert [os.path.basename(path) for path in compiled] == ["a.py", "b.py"]


def test_objects_of_the_program_s_classes_travel(launch):
    done = launch(2, {
        "shapes.py": "class Shape:\n    def __init__(self, n): self.n = n\n",
        "main.py": """
            import pickle
            from dataclasses import dataclass
            from shapes import Shape

            @dataclass
            class Point:
                x: int

            got = comm.sendrecv([Point(comm.rank), Shape(comm.rank)], 1 - comm.rank)
            assert type(got[0]) is Point and type(got[1]) is Shape, got
            assert type(pickle.loads(pickle.dumps(Point(1)))) is Point
            print(got[0], got[1].n)
        """,
    })  # fmt: skip
    assert done == (0, ["Point(x=1) 1", "Point(x=0) 0"], "")


def test_names_and_arguments_are_those_that_python_gives(launch, tmp_path):
    text = """
        import os
        if __name__ == "__main__":
            sys.argv.append(comm.rank)  # its own list
            comm.Barrier()
            print(sys.argv, os.path.relpath(__file__), os.path.relpath(sys.path[0]), __package__, __spec__)
    """
    done = launch(2, text, args=("main.py", "--n", "3"))
    assert sorted(done.lines) == [f"['main.py', '--n', '3', {rank}] main.py . None None" for rank in (0, 1)]


@pytest.mark.parametrize("name", ["package.module", "package"])
def test_a_module_is_run_with_m(launch, name):
    text = HEAD + "from . import part\nprint(__name__, __package__, sys.argv[0] == __file__, sys.argv[1:], part.RANK)"
    files = {"package/__init__.py": "", "package/part.py": RANK, "package/module.py": text, "package/__main__.py": text}
    done = launch(2, files, args=("-m", name, "x"))
    assert done == (0, [f"__main__ package True ['x'] {rank}" for rank in (0, 1)], "")


@pytest.mark.parametrize("name", ["mpi4py", "mpi4py.run"])
def test_a_program_may_be_run_by_mpi4py_as_it_is_under_mpiexec(launch, name):
    for args in (("main.py", "x"), ("-m", "main", "x")):
        assert launch(2, "print(sys.argv[1:], comm.size)", args=("-m", name, *args)).lines == ["['x'] 2"] * 2
    assert launch(1, {}, args=("-m", name, "-c", "print(1)")).lines == ["1"]


def test_a_folder_is_run_by_its_main_file(launch):
    done = launch(
        2, {"app/__main__.py": "import part, sys\nprint(sys.argv, part.RANK)", "app/part.py": RANK}, args=("app",)
    )
    assert done == (0, ["['app'] 0", "['app'] 1"], "")


def test_a_text_is_run_with_c(launch):
    assert launch(2, {}, args=("-c", f"{HEAD}print(sys.argv, comm.size)", "x")).lines == ["['-c', 'x'] 2"] * 2


@pytest.mark.parametrize("name", ["collectives", "ranks", "mpi", "random"])
def test_a_user_s_file_may_be_called_like_a_loaded_module(launch, name):
    """Neither does it replace ours, nor is ours found in its place; a report on a hang needs modules not yet loaded."""
    done = launch(2, {
        f"{name}.py": RANK + "class Own: pass",
        "main.py": f"""
            import pickle, {name}
            assert {name}.RANK == comm.rank and type(pickle.loads(pickle.dumps({name}.Own()))) is {name}.Own
            print({name}.RANK, comm.allreduce(1))
            comm.recv()
        """,
    })  # fmt: skip
    assert (done.status, sorted(done.lines)) == (3, ["0 2", "1 2"])
    assert "main.py:8" in done.err
    assert "DeadlockError" in done.err


def test_random_numbers_are_each_rank_s_own_and_the_same_in_every_run(launch):
    text = """
        import random, numpy as np
        from random import random as draw
        np.random.seed(comm.rank)
        comm.Barrier()
        print(comm.rank, np.random.rand(), draw(), random.randint(0, 10**9))
    """
    first = launch(2, text)
    assert first == launch(2, text)
    rows = [line.split() for line in sorted(first.lines)]
    assert [row[1] for row in rows] == [str(np.random.RandomState(rank).rand()) for rank in (0, 1)]
    assert rows[0][2:] != rows[1][2:]


def test_only_rank_0_reads_what_is_typed(launch, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Ann\nrest\n"))
    done = launch(2, """
        if comm.rank == 0: comm.recv()
        name = input("who? ") if comm.rank == 0 else "nobody"
        print(name, repr(sys.stdin.read()))
        if comm.rank == 1: comm.send(None, 0)
    """)  # fmt: skip
    assert done.lines == ["nobody ''", "who? Ann 'rest\\n'"]


def test_a_question_is_shown_before_its_answer_is_read():
    shown = io.StringIO()
    writer = Writer(Output(shown), "", "<stdout>", "strict")
    reader = Reader(io.StringIO("yes\nrest"), writer.finish)
    for ask in (reader.readline, reader.read):
        print("sure?", end="", file=writer)
        assert shown.getvalue() == ""
        ask()
        assert shown.getvalue() == "sure?"
        shown.truncate(0)
        shown.seek(0)


def test_lines_are_never_mixed_and_may_be_tagged(launch):
    text = """
        for word in ("one", "two"):
            print(word, end=" ", flush=True)
            comm.Barrier()
        print(comm.rank, "\\nnext ", end="", flush=True)
        comm.Barrier()
        print("and\\nlast\\n", end="")
        comm.Barrier()
        print("the end", end="")
        sys.stderr.write("said\\n")
    """
    done = launch(2, text, "--tag-output")
    assert sorted(done.lines[:-1]) == [
        f"[{rank}] {line}" for rank in (0, 1) for line in ("last", "next and", f"one two {rank} ")
    ]
    assert done.lines[-1] in ("[0] the end[1] the end", "[1] the end[0] the end")
    assert sorted(done.err.splitlines()) == ["[0] said", "[1] said"]


def test_a_program_may_write_bytes_and_wrap_its_output(launch):
    done = launch(2, """
        import io
        sys.stdout.buffer.write(b"bytes\\n")
        sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="latin-1", line_buffering=True)
        print("wrapped", comm.rank)
    """)  # fmt: skip
    assert done.lines == ["bytes", "wrapped 0", "bytes", "wrapped 1"]


def test_what_runs_at_exit_runs_in_its_rank_the_last_one_first(launch):
    text = """
        import atexit
        atexit.register(print, "first", comm.rank)
        atexit.register(lambda: print(comm.allreduce(1)))
        atexit.register(print, "never")
        atexit.unregister(print)
        atexit.register(print, "last", comm.rank)
        sys.exit()
    """
    assert launch(2, text) == (0, ["last 0", "last 1", "2", "2"], "")


def test_what_fails_at_exit_is_told_and_what_has_an_end_of_its_own_may_communicate_there(launch):
    done = launch(2, """
        import atexit

        class Solver:
            def __del__(self): print(comm.allreduce(size()))

        def size(): return comm.size

        solver = Solver()
        atexit.register(print, "goes on")
        atexit.register(lambda: 1 / 0)
    """)  # fmt: skip
    assert (done.status, done.lines) == (0, ["goes on"] * 2 + ["4"] * 2)
    assert done.err.count("Exception ignored in atexit callback: <function <lambda> at ") == 2
    assert done.err.count("ZeroDivisionError: division by zero\n") == 2


def test_folder_environment_logging_and_warnings_are_a_rank_s_own(launch):
    done = launch(2, """
        import logging, os, warnings
        os.mkdir(str(comm.rank)); os.chdir(str(comm.rank))
        os.environ["MINE"] = str(comm.rank)
        logging.basicConfig(format=f"{comm.rank}: %(message)s", level=logging.INFO, stream=sys.stdout)
        warnings.simplefilter("error" if comm.rank else "ignore")
        comm.Barrier()
        assert logging.getLogger().getChild("x").name == "x"
        logging.getLogger("a.b").info("%s %s", os.path.basename(os.getcwd()), os.environ["MINE"])
        try:
            warnings.warn("careful")
        except UserWarning:
            print("an error")
    """)  # fmt: skip
    assert (done.status, sorted(done.lines)) == (0, ["0: 0 0", "1: 1 1", "an error"])


def test_launchers_tell_a_rank_its_number_in_the_environment(launch):
    names = "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"
    text = f"import os\nprint(*(os.environ[name] for name in {names}))\ncomm.Barrier()"
    before = dict(os.environ)
    assert sorted(launch(3, text).lines) == [f"{rank} 3 {rank} {rank} 3" for rank in range(3)]
    done = launch(10, text, "--network", "dgx-h100")  # eight ranks on a node
    assert sorted(done.lines, key=lambda line: int(line.split()[0])) == [
        f"{rank} 10 {rank % 8} {rank} {8 if rank < 8 else 2}" for rank in range(10)
    ]
    assert before == dict(os.environ)


def test_a_wait_with_a_time_limit_takes_that_time_and_each_rank_may_run_a_loop_of_asyncio(launch):
    done = launch(2, """
        import asyncio, queue, threading, time

        def taken(wait):
            began = time.time()
            wait()
            return round(time.time() - began, 3)

        class Loop(asyncio.SelectorEventLoop):
            turns = 0

            def _run_once(self):
                Loop.turns += 1
                super()._run_once()

        async def exchange():
            received = comm.irecv(source=1 - comm.rank)
            comm.send(comm.rank, 1 - comm.rank)
            while not received.test()[0]:
                await asyncio.sleep(0)
            await asyncio.sleep(0.004)

        try:
            queue.Queue().get(timeout=0.002)
        except queue.Empty:
            print(taken(lambda: threading.Event().wait(0.003)))
        with asyncio.Runner(loop_factory=Loop) as runner:
            print(0.004 <= taken(lambda: runner.run(exchange())) < 0.01, Loop.turns < 100)
    """)  # fmt: skip
    assert (done.status, sorted(done.lines), done.err) == (0, ["0.003"] * 2 + ["True True"] * 2, "")


def test_a_rank_may_start_processes_and_executors(launch):
    done = launch(2, """
        import multiprocessing, time
        from concurrent.futures import ThreadPoolExecutor

        def work(x):
            began = time.time()
            time.sleep(0.001)
            return x + comm_rank, MPI.Is_thread_main(), time.time() - began >= 0.001

        comm_rank = comm.rank
        print("begun", end=" ")
        with multiprocessing.get_context("fork").Pool(1) as pool:
            print(pool.apply_async(work, (5,)).get(timeout=60), end=" ")
        executor = ThreadPoolExecutor(1)  # which nobody shuts down
        print(executor.submit(work, 7).result())
    """)  # fmt: skip
    expected = [f"begun ({5 + rank}, False, True) ({7 + rank}, False, True)" for rank in (0, 1)]
    assert (done.status, done.lines, done.err) == (0, expected, "")


def test_print_figures_and_streams_are_a_rank_s_own(launch, monkeypatch):
    figures = SimpleNamespace(Gcf=SimpleNamespace(figs={}))
    monkeypatch.setitem(sys.modules, "matplotlib._pylab_helpers", figures)
    done = launch(3, """
        import builtins
        figures = sys.modules["matplotlib._pylab_helpers"].Gcf
        if comm.rank: builtins.print = lambda *args: None
        figures.figs[comm.rank] = "figure"
        comm.Barrier()
        assert comm.rank == 0 or (sys.stdin.name, sys.stdin.read()) == ("<stdin>", "")
        print(list(figures.figs), sys.stdout.name, sys.stdout.mode)
    """)  # fmt: skip
    assert done == (0, ["[0] <stdout> w"], "")
    assert figures.Gcf.figs == {}  # as before


def test_clocks_show_virtual_time_and_sleep_spends_it(launch):
    done = launch(3, """
        import time
        began, date = time.perf_counter(), time.time()
        time.sleep(1000 - comm.rank)
        print(comm.rank, round(time.perf_counter() - began, 5), round(time.time() - date), round(MPI.Wtime(), 5))
    """)  # fmt: skip
    assert done.lines == ["2 998.0 998 998.0", "1 999.0 999 999.0", "0 1000.0 1000 1000.0"]


def test_afterwards_everything_is_as_it_was(launch):
    def state():
        names = [name for name in sys.modules if name.partition(".")[0] in ("__main__", "helper", "mpi4py", "main")]
        return (
            list(sys.argv), list(sys.path), sys.stdin, os.getcwd(), dict(os.environ), list(warnings.filters),
            logging.root, logging.root.handlers[:], list(sys.meta_path), os.fork, print, __import__, names,
        )  # fmt: skip

    before = state()
    launch(2, {"helper.py": "", "random.py": "", "main.py": """
        import helper, os, logging, random
        os.chdir("/"); sys.path.clear(); sys.argv.clear(); os.environ.clear(); logging.basicConfig()
        1 / 0
    """})  # fmt: skip
    assert state() == before
    assert not is_installed()


def test_a_rank_may_have_its_output_redirected_while_others_print(launch):
    done = launch(2, """
        import contextlib, io
        if comm.rank == 0:
            with contextlib.redirect_stdout(io.StringIO()) as kept:
                print("hidden"); comm.Barrier(); print("hidden")
            print(kept.getvalue().split())
        else:
            print("seen"); comm.Barrier()
    """)  # fmt: skip
    assert sorted(done.lines) == ["['hidden', 'hidden']", "seen"]


def test_two_looks_at_a_clock_with_nothing_in_between_are_a_microsecond_apart(launch):
    done = launch(2, """
        import time
        began, t = time.time(), MPI.Wtime()
        assert 1e-6 <= MPI.Wtime() - t < 1.1e-6 and time.time() > began
        while time.perf_counter() < 0.001:  # it ends
            pass
        comm.Barrier()
        before = time.perf_counter_ns()
        comm.Barrier()
        print(time.perf_counter_ns() - before)
    """)  # fmt: skip
    assert (done.status, done.lines[0]) == (0, done.lines[1])
    barrier = launch(2, "comm.Barrier()\ncomm.Barrier()\nprint(round(MPI.Wtime() * 1e9) // 2)").lines[0]
    assert done.lines[0] == barrier
