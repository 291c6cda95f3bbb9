"""mpi4py.util: ranks that take turns, pools, and datatypes of NumPy."""

import numpy as np
import pytest

from mpi import MPI, run
from mpi.launch.mpi4py_names import ours_is_mpi4py


@pytest.fixture(autouse=True)
def ours():
    with ours_is_mpi4py():
        yield


@pytest.mark.parametrize("p", [1, 2, 5])
def test_a_counter_gives_each_number_once_and_turns_come_in_order(p):
    from mpi4py.util.sync import Counter, Sequential

    def program(comm):
        counter = Counter(3, 2, typecode="d", comm=comm, root=p - 1)
        mine = [next(counter) for _ in range(3)]
        assert counter.next(0) >= 3 + 2 * 3
        comm.Barrier()
        with Sequential(comm):
            turn = counter.next(1)
        counter.free()
        with pytest.raises(RuntimeError, match="counter: got a call after free"):
            next(counter)
        return mine, turn

    found = run(program, p).results
    assert sorted(x for mine, _ in found for x in mine) == [3.0 + 2 * k for k in range(3 * p)]
    assert [turn for _, turn in found] == [3.0 + 6 * p + k for k in range(p)]


@pytest.mark.parametrize("recursive", [False, True])
def test_a_mutex_is_held_by_one_rank_at_a_time(recursive):
    from mpi4py.util.sync import Mutex

    shared = {"inside": 0, "value": 0}

    def program(comm):
        mutex = Mutex(recursive=recursive, comm=comm)
        for _ in range(4):
            with mutex:
                shared["inside"] += 1
                before = shared["value"]
                comm.Iprobe()  # others may go on
                assert shared["inside"] == 1
                shared["value"] = before + 1
                if recursive:
                    assert mutex.acquire()
                    assert mutex.count() == 2
                    mutex.release()
                else:
                    with pytest.raises(RuntimeError, match="by the rank that holds it"):
                        mutex.acquire()
                assert mutex.locked()
                shared["inside"] -= 1
        with pytest.raises(RuntimeError, match="expected an acquire before"):
            mutex.release()
        comm.Barrier()
        if comm.rank == 0:
            mutex.acquire()
        comm.Barrier()
        got = mutex.acquire(blocking=False) if comm.rank else None
        comm.Barrier()
        mutex.free()
        return got

    assert run(program, 3).results == [None, False, False]
    assert shared == {"inside": 0, "value": 12}


def test_a_condition_wakes_as_many_as_it_says_and_a_semaphore_lets_in_as_many_as_it_is_worth():
    from mpi4py.util.sync import Condition, Semaphore

    shared = {"ready": False, "inside": 0, "most": 0}

    def program(comm):
        condition = Condition(comm=comm)
        if comm.rank:
            with condition, condition:
                assert condition.wait_for(lambda: shared["ready"])
                assert condition._mutex.count() == 2
        else:
            comm.sendrecv(None, 0)
            with condition:
                shared["ready"] = True
                condition.notify_all()
                assert condition.notify() == 0
        with pytest.raises(RuntimeError, match="got notify, expected an acquire before"):
            condition.notify()
        condition.free()
        one = Semaphore(1, comm=comm)
        with one:
            shared["inside"] += 1
            comm.Iprobe()  # others may go on
            shared["most"] = max(shared["most"], shared["inside"])
            shared["inside"] -= 1
        one.free()
        semaphore = Semaphore(2, comm=comm)
        comm.Barrier()
        with pytest.raises(ValueError, match="at most 2 in all"):
            semaphore.release()
        comm.Barrier()
        assert semaphore.acquire(blocking=False)
        comm.Barrier()
        assert not semaphore.acquire(blocking=False)
        comm.Barrier()
        semaphore.free()

    run(program, 2)
    assert shared == {"ready": True, "inside": 0, "most": 1}


POOL = """
    from mpi4py.util.pool import Pool, ThreadPool

    def square(x):
        return x * x

    def divide(x, y):
        return x // y

    if __name__ == "__main__":
        for kind in (Pool, ThreadPool):
            told = []
            with kind(2) as pool:
                assert pool.apply(square, (3,)) == 9 and pool.apply(square, kwds={"x": 4}) == 16
                assert pool.map(square, range(9)) == [x * x for x in range(9)] == list(pool.imap(square, range(9), 4))
                assert sorted(pool.imap_unordered(square, range(5))) == [0, 1, 4, 9, 16] and pool.map(square, []) == []
                result = pool.starmap_async(divide, [(6, 3), (9, 3)], 1, told.append)
                assert result.get() == [2, 3] and result.ready() and result.successful() and told == [[2, 3]]
                wrong = pool.apply_async(divide, (1, 0), error_callback=told.append)
                wrong.wait()
                assert not wrong.successful()
                try:
                    wrong.get()
                except ZeroDivisionError:
                    print(kind.__name__, type(told[1]).__name__)
            pool.join()
        try:
            Pool(0)
        except ValueError as error:
            print(error)
"""


@pytest.mark.parametrize("n", [1, 3])
def test_a_pool_gives_its_tasks_to_other_ranks(launch, n):
    done = launch(n, POOL, args=("-m", "mpi4py.futures", "main.py"))
    assert done == (0, [
        "Pool ZeroDivisionError", "ThreadPool ZeroDivisionError",
        "Pool: got 0 processes, expected 1 or more; remedy: correct the number",
    ], "")  # fmt: skip


@pytest.mark.parametrize("spec", ["f8", "?", "c", "(2,3)i4", "(5,)D", "i1,f8,i2", "(3,)i2,(2,2)f4", "g,b"])
@pytest.mark.parametrize("align", [False, True])
def test_a_dtype_becomes_a_datatype_and_comes_back(spec, align):
    from mpi4py.util.dtlib import from_numpy_dtype, to_numpy_dtype

    dtype = np.dtype(spec, align)
    datatype = from_numpy_dtype(dtype)
    assert (datatype.extent, to_numpy_dtype(datatype)) == (dtype.itemsize, dtype)
    nested = np.dtype([("f0", dtype), ("f1", dtype, (2,))], align)
    assert to_numpy_dtype(from_numpy_dtype(nested)) == nested


def test_a_datatype_becomes_a_dtype_whose_fields_lie_where_its_blocks_do():
    from mpi4py.util.dtlib import from_numpy_dtype, to_numpy_dtype

    for datatype, offsets in (
        (MPI.DOUBLE.Create_vector(3, 2, 4), [0, 32, 64]), (MPI.INT.Create_hvector(2, 1, 9), [0, 9]),
        (MPI.INT.Create_indexed([1, 2], [0, 3]), [0, 12]), (MPI.INT.Create_hindexed_block(2, [4, 20]), [4, 20]),
        (MPI.Datatype.Create_struct([1, 2], [1, 27], [MPI.INT, MPI.DOUBLE]), [1, 27]), (MPI.LONG_INT, [0, 8]),
    ):  # fmt: skip
        dtype = to_numpy_dtype(datatype.Dup())
        assert [dtype.fields[name][1] for name in dtype.names] == offsets
    for wrong in ("O", ">i4", "S5", "V3"):
        with pytest.raises(ValueError, match="expected"):
            from_numpy_dtype(wrong)
    for wrong in (MPI.DATATYPE_NULL, MPI.INT.Create_subarray([4], [2], [1]), MPI.INT.Create_resized(0, 8)):
        with pytest.raises(ValueError, match="to_numpy_dtype: got"):
            to_numpy_dtype(wrong)


def test_communicators_of_pkl5_are_a_kind_of_their_own_without_irecv():
    from mpi4py.util import pkl5

    def program(world):
        comm = pkl5.Intracomm(world)
        assert isinstance(comm, MPI.Intracomm)
        assert not isinstance(world, pkl5.Comm)
        assert type(comm.Dup()) is pkl5.Intracomm
        request = comm.isend(np.arange(3), 1 - comm.rank)
        assert isinstance(request, pkl5.Request)
        with pytest.raises(RuntimeError, match=r"Intracomm.irecv: got a call.* call improbe"):
            comm.irecv(source=1 - comm.rank)
        status = MPI.Status()
        got = comm.recv(bytearray(1000), 1 - comm.rank, status=status)
        request.wait()
        return got.tolist(), status.source

    assert run(program, 2).results == [([0, 1, 2], 1), ([0, 1, 2], 0)]
