"""Handles, statuses, requests and objects of mpi.MPI, as mpi4py has them."""

import copy
import ctypes
import pickle

import numpy as np
import pytest

from mpi import MPI, run


def test_a_pickled_object_larger_than_irecv_s_room_is_truncated_as_in_mpi4py():
    def program(comm):
        if comm.rank == 0:
            comm.send(bytes(40_000), 1)
            comm.send(bytes(40_000), 1)
            return None
        large = comm.irecv(bytearray(50_000), source=0).wait()
        with pytest.raises(MPI.Exception, match=r"40,?0\d\d.*at most 32768 B.*pass a buffer") as caught:
            comm.irecv(source=0).wait()
        assert caught.value.Get_error_class() == MPI.ERR_TRUNCATE
        return len(large)

    assert run(program, 2).results[1] == 40_000


def test_a_generalized_request_is_complete_when_the_program_says_so():
    def program(comm):
        heard = []

        def query(status, name):
            status.Set_source(3)
            heard.append(name)

        request = MPI.Grequest.Start(query, lambda name: heard.append("free"), args=("query",))
        assert not request.Test()
        request.complete({"a": 1})
        status = MPI.Status()
        assert request.wait(status) == {"a": 1}
        return heard, status.source, bool(request)

    assert run(program, 1).results == [(["query", "free"], 3, False)]


def test_statuses_count_in_datatypes_and_are_filled_by_programs():
    pair = MPI.Datatype.Create_struct([1, 2], [0, 8], [MPI.INT, MPI.SHORT])
    status = MPI.Status()
    status.count = 12
    assert (status.Get_count(pair), status.Get_elements(pair)) == (MPI.UNDEFINED, 4)
    assert (status.Get_count(MPI.DOUBLE), status.Get_elements(MPI.SHORT)) == (MPI.UNDEFINED, 6)
    status.Set_elements(MPI.DOUBLE, 3)
    status.Set_cancelled(True)
    same = pickle.loads(pickle.dumps(status))
    assert (same, same.Get_count(MPI.DOUBLE), same.Is_cancelled()) == (status, 3, True)
    assert MPI.Status.f2py(status.py2f()) == status


@pytest.mark.parametrize("name", ["COMM_WORLD", "COMM_NULL", "INT", "SUM", "GROUP_EMPTY", "INFO_NULL", "REQUEST_NULL"])
def test_constants_pickle_and_copy_as_themselves(name):
    constant = getattr(MPI, name)
    assert pickle.loads(pickle.dumps(constant)) is constant
    assert copy.deepcopy(constant) is constant
    other = type(constant)(constant)
    assert other == constant
    assert other is not constant
    with pytest.raises(TypeError):
        hash(constant)


def test_handles_are_of_their_kind_only():
    def program(comm):
        grid = comm.Create_cart([comm.size])
        assert type(MPI.Comm.fromhandle(grid.handle)) is MPI.Cartcomm
        for wrong in (lambda: MPI.Graphcomm(grid), lambda: MPI.Intercomm(comm), lambda: MPI.Comm(MPI.SUM)):
            with pytest.raises(TypeError):
                wrong()
        with pytest.raises(RuntimeError, match="at most 32"):
            [MPI.Op.Create(lambda x, y, t: None) for _ in range(33)]

    run(program, 2)


def test_info_is_a_dict_of_texts_with_limits():
    info = MPI.Info.Create({"a": "1"})
    info["b"] = "2"
    assert (info.items(), len(info), info.Get("c"), "a" in info) == ([("a", "1"), ("b", "2")], 2, None, True)
    for call, kind in (
        (lambda: info.Delete("c"), MPI.ERR_INFO_NOKEY),
        (lambda: info.Set("x" * 256, "1"), MPI.ERR_INFO_KEY),
    ):
        with pytest.raises(MPI.Exception) as caught:
            call()
        assert caught.value.Get_error_class() == kind
    assert MPI.Info.Create(info.items()).copy().pop("a") == "1"


def test_a_pair_s_exposed_epoch_lets_each_write_to_the_other():
    def program(comm):
        mine, other = np.zeros(2), comm.group.Incl([1 - comm.rank])
        window = MPI.Win.Create(mine, 8, comm=comm)
        window.Post(other)
        window.Start(other)
        window.Accumulate(np.array([comm.rank + 1.0]), 1 - comm.rank, 1)
        window.Complete()
        window.Wait()
        window.Free()
        return mine.tolist()

    assert run(program, 2).results == [[0.0, 2.0], [0.0, 1.0]]


def test_exceptions_are_ordered_as_their_classes_and_say_their_names():
    error = MPI.Exception(MPI.ERR_RANK)
    assert (str(error), repr(error), int(error), bool(error)) == ("MPI_ERR_RANK", "MPI.Exception(6)", 6, True)
    assert MPI.Exception() <= error < MPI.ERR_LASTCODE
    assert error == MPI.ERR_RANK != MPI.ERR_TAG
    assert not MPI.Exception(MPI.SUCCESS)


def test_exceptions_are_pickled_and_copied_as_those_of_mpi4py_are():
    error = MPI.Exception(MPI.ERR_RANK)
    assert repr(pickle.loads(pickle.dumps(error))) == repr(copy.copy(error)) == "MPI.Exception(6)"

    def program(comm):
        if comm.rank == 0:
            return comm.recv()
        with pytest.raises(MPI.Exception) as caught:
            comm.send(1, 7)
        comm.send(caught.value, 0)
        return caught.value

    came, sent = run(program, 2).results
    assert (str(came), came.remedy, came.Get_error_class(), type(came)) == (str(sent), sent.remedy, 6, type(sent))


def test_error_classes_of_the_program_have_texts():
    def program(comm):
        kind = MPI.Add_error_class()
        code = MPI.Add_error_code(kind)
        MPI.Add_error_string(code, "out of milk")
        assert (MPI.Get_error_class(code), MPI.Get_error_string(code)) == (kind, "out of milk")
        error = MPI.Exception(code)
        assert (error.Get_error_class(), error.error_code, str(error)) == (kind, code, "out of milk")
        assert error == code != kind
        return MPI.Get_error_class(MPI.ERR_RANK) == MPI.ERR_RANK, MPI.Get_error_string(MPI.ERR_RANK)

    assert run(program, 1).results == [(True, "MPI_ERR_RANK")]


def test_the_memory_of_a_status_is_the_status():
    status = MPI.Status()
    status.source, status.tag = 3, 4
    numbers = status.tomemory()
    numbers[list(numbers).index(3)] = 5
    status.Set_tag(6)
    assert (status.Get_source(), list(numbers)[3], isinstance(status, MPI.Status)) == (5, 6, True)


def test_a_buffer_takes_numbers_and_slices_in_one_piece():
    memory = MPI.Alloc_mem(8)
    memory[:] = bytes(range(8))
    assert (memory.tobytes(), memory[2], bytes(memory[6:])) == (bytes(range(8)), 2, b"\x06\x07")
    assert MPI.buffer(np.arange(2)).nbytes == 16
    for key, error in ((None, TypeError), (slice(None, None, 2), IndexError), (9, IndexError)):
        with pytest.raises(error):
            memory[key]
        with pytest.raises(error):
            memory[key] = 0
    with pytest.raises(NotImplementedError, match="got a deletion"):
        del memory[0]
    with pytest.raises(BufferError, match="read-only"):
        run(lambda comm: MPI.Attach_buffer(b"abc"), 1)


class Interface:
    """An object with an array interface of three bytes."""

    def __init__(self, **other):
        self.memory = np.arange(3, dtype=np.uint8)
        self.__cuda_array_interface__ = {
            "data": (self.memory.ctypes.data, False), "typestr": "|u1", "shape": (3,), "version": 3, **other,
        }  # fmt: skip


@pytest.mark.parametrize(("other", "error"), [
    ({"data": None}, TypeError), ({"data": (0,)}, ValueError), ({"typestr": 4}, TypeError),
    ({"shape": (-3,)}, BufferError), ({"typestr": ">i2"}, BufferError), ({"descr": 42}, TypeError),
])  # fmt: skip
def test_a_wrong_array_interface_raises_as_in_mpi4py(other, error):
    def program(comm):
        got = np.zeros(3, np.uint8)
        comm.Sendrecv(Interface(**other), 0, recvbuf=got, source=0)

    run(lambda comm: comm.Sendrecv(Interface(), 0, recvbuf=np.zeros(3, np.uint8), source=0), 1)
    with pytest.raises(error):
        run(program, 1)


def test_records_behind_an_array_interface_are_sent_as_bytes_with_a_warning():
    def program(comm):
        got = np.zeros(3, np.uint8)
        records = Interface(typestr="|V3", shape=(1,), descr=[("", "|u1")] * 3)
        comm.Sendrecv(records, 0, recvbuf=got, source=0)
        return got.tolist()

    with pytest.warns(RuntimeWarning, match="its elements are sent as bytes"):
        assert run(program, 1).results == [[0, 1, 2]]


@pytest.mark.parametrize("kind", [MPI.Comm, MPI.Datatype, MPI.Request, MPI.Status, MPI.Win])
def test_what_c_code_would_read_lies_at_the_address_of_a_handle(kind):
    def program(comm):
        send = comm.Isend(b"ab", 0, 7)
        status = MPI.Status()
        comm.Recv(bytearray(2), 0, 7, status)
        win = MPI.Win.Create(None, comm=comm)
        arg = {MPI.Comm: comm, MPI.Datatype: MPI.INT, MPI.Request: send, MPI.Status: status, MPI.Win: win}[kind]
        address, n_bytes = MPI._addressof(arg), MPI._sizeof(kind)
        assert n_bytes == MPI._sizeof(arg)
        assert address == MPI._addressof(arg)
        read = memoryview(ctypes.string_at(address, n_bytes)).cast("i" if arg is status else "q").tolist()
        assert read == (status.py2f() if arg is status else [arg.handle])
        assert MPI._handleof(arg) == (address if arg is status else arg.handle)
        send.Wait()
        win.Free()
        for call in (MPI._addressof, MPI._sizeof, MPI._handleof):
            with pytest.raises(TypeError, match="got None, expected a handle of MPI or a status"):
                call(None)

    run(program, 1)


def test_the_message_of_nobody_is_null_once_it_is_received():
    def program(comm):
        found = comm.mprobe(MPI.PROC_NULL)
        assert found == MPI.MESSAGE_NO_PROC
        assert found.recv() is None
        assert MPI.MESSAGE_NO_PROC
        return found == MPI.MESSAGE_NULL

    assert run(program, 1).results == [True]


def test_buffers_above_a_threshold_are_pickled_apart():
    pickles = MPI.Pickle()
    for threshold, n_apart in ((16, 1), (17, 0), (None, 0)):
        pickles.THRESHOLD = threshold
        data, apart = pickles.dumps_oob(np.arange(2))
        assert [type(each) for each in apart] == [MPI.buffer] * n_apart
        assert pickles.loads_oob(data, apart).tolist() == [0, 1]
    assert pickles.THRESHOLD == 1 << 18
