"""Point-to-point calls of mpi.MPI: messages, their datatypes, and what MPI lets pass."""

import array
import mmap

import numpy as np
import pytest

import ranks
from mpi import MPI, run


def test_comm_world_is_the_calling_rank_s_own():
    assert run(lambda comm: (MPI.COMM_WORLD.rank, MPI.COMM_SELF.size, comm is MPI.COMM_WORLD), 3).results == [
        (0, 1, True), (1, 1, True), (2, 1, True),
    ]  # fmt: skip


def test_comm_world_outside_of_a_run_says_how_to_start_one():
    with pytest.raises(RuntimeError, match="python -m mpi -n 4"):
        MPI.COMM_WORLD.Get_rank()


@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_a_column_arrives_where_the_datatype_says(p):
    def program(comm):
        column = MPI.DOUBLE.Create_vector(4, 1, 5).Commit()
        a, b = np.arange(20.0).reshape(4, 5) + 100 * comm.rank, np.zeros((4, 5))
        right, left = (comm.rank + 1) % p, (comm.rank - 1) % p
        comm.Sendrecv([a, 1, column], right, 3, [b, 1, column], left, 3)
        assert (b[:, 0] == np.arange(0, 20, 5) + 100 * left).all()
        assert not b[:, 1:].any()
        request = comm.Irecv([b, 1, column], left)
        comm.Send(np.full(4, 7.0), right)
        request.Wait()
        return b[:, 0].tolist()

    assert run(program, p).results == [[7.0] * 4] * p


def test_another_datatype_of_the_same_bytes_is_delivered_with_a_warning_and_refused_if_checked():
    def program(comm):
        if comm.rank == 0:
            comm.Send(np.array([1, 2, -1], "i4"), 1)
            return None
        got = np.zeros(3, "u4")
        comm.Recv(got, 0)
        return got.tolist()

    with pytest.warns(ranks.ProgramWarning, match="int32.*uint32"):
        assert run(program, 2).results[1] == [1, 2, 2**32 - 1]
    with pytest.raises(ranks.DatatypeMismatchError):
        run(program, 2, check=True)


def test_a_pickle_is_received_into_the_buffer_that_a_program_gives_too():
    def program(comm):
        first, second = bytearray(100), np.zeros(100, "u1")
        sent = comm.isend("one", 0)
        with pytest.warns(UserWarning, match="no call needs one"):
            got = comm.recv(first, 0)
        sent.wait()
        return got, MPI.pickle.loads(first), comm.sendrecv([2], 0, recvbuf=second), MPI.pickle.loads(second)

    assert run(program, 1).results == [("one", "one", [2], [2])]


def test_bytes_and_pickles_fit_each_other():
    def program(comm):
        if comm.rank == 0:
            comm.Send([MPI.pickle.dumps({"a": 1}), MPI.BYTE], 1)
            comm.Send(np.arange(3.0), 1)
            return None
        raw = bytearray(24)
        found = comm.recv(source=0)
        comm.Recv(raw, 0)
        return found, np.frombuffer(raw).tolist()

    assert run(program, 2).results[1] == ({"a": 1}, [0.0, 1.0, 2.0])


def test_what_nobody_received_is_a_warning_and_an_error_if_checked():
    def program(comm):
        comm.send(1, 0)

    with pytest.warns(ranks.ProgramWarning, match="nobody had received"):
        run(program, 1)
    with pytest.raises(ranks.UnreceivedMessageError):
        run(program, 1, check=True)


def test_a_report_names_the_program_s_call():
    with pytest.raises(ranks.DeadlockError, match=r"Recv\(source=1, tag=ANY_TAG.*test_mpi_point_to_point.py"):
        run(lambda comm: comm.Recv(np.zeros(1), 1 - comm.rank), 2)


def test_wrong_calls_are_mpi_s_exception_with_its_class():
    def program(comm):
        for call, kind in (
            (lambda: comm.Send(np.zeros(1), 5), MPI.ERR_RANK), (lambda: comm.Send(np.zeros(1), 0, -3), MPI.ERR_TAG),
            (lambda: comm.bcast(1, root=7), MPI.ERR_ROOT), (lambda: MPI.COMM_NULL.Barrier(), MPI.ERR_COMM),
        ):  # fmt: skip
            with pytest.raises(MPI.Exception, match="remedy") as caught:
                call()
            assert caught.value.Get_error_class() == kind

    run(program, 2)


@pytest.mark.parametrize("buffer", [
    bytearray(range(12)), array.array("i", [3, 4, 5]), np.arange(3, dtype="i4"), mmap.mmap(-1, 12),
])  # fmt: skip
def test_a_buffer_of_any_kind_is_sent_by_count_and_datatype(buffer):
    def program(comm):
        got = np.full(3, -1, "i4")
        comm.Sendrecv([buffer, 2, MPI.INT], 0, recvbuf=[got, 3, MPI.INT], source=0)
        assert got.tolist() == [*np.frombuffer(buffer, "i4")[:2], -1]
        assert got.tobytes()[:8] == bytes(memoryview(buffer).cast("B"))[:8]
        comm.Sendrecv([buffer, 0, MPI.DATATYPE_NULL], 0, recvbuf=[None, 0, MPI.INT], source=0)
        for wrong in ([buffer, -1, MPI.INT], [buffer, 4, MPI.INT], [None, 1, MPI.INT], [buffer, 1, MPI.DATATYPE_NULL]):
            with pytest.raises((ValueError, MPI.Exception), match="expected"):
                comm.Send(wrong, 0)
        with pytest.raises(BufferError, match="read-only"):
            comm.Recv([b"abcd", 1, MPI.INT])
        with pytest.raises(TypeError, match="got an object of type list, expected a buffer"):
            comm.Send([[1], 1, MPI.INT], 0)

    run(program, 1)
