"""Wrong calls raise what mpi4py raises on MPICH: a class of Python's, or an error class; and they say what to do."""

import re
import warnings

import numpy as np
import pytest

from mpi import MPI, run

X, READ_ONLY = np.arange(8.0), np.zeros(4)
READ_ONLY.flags.writeable = False

# What one rank calls, with its communicator `c` of one rank and a window `w` of its own; what comes of it on MPICH.
CALLS = [
    ("c.Recv(READ_ONLY, 0)", BufferError),
    ("c.Sendrecv(X, 0, 0, READ_ONLY, 0)", BufferError),
    ("c.Recv_init(READ_ONLY, 0)", BufferError),
    ("(c.isend(1, 0), c.recv(bytes(100), 0))", BufferError),
    ("(c.isend(1, 0), c.recv('a', 0))", TypeError),
    ("(c.isend(1, 0), c.recv(bytearray(1), 0))", MPI.ERR_TRUNCATE),
    ("c.Send([1, 2], 0)", TypeError),
    ("c.Recv(5, 0)", TypeError),
    ("MPI.Op(3)", TypeError),
    ("MPI.Intracomm(3)", TypeError),
    ("MPI.INFO_NULL.Get_nkeys()", MPI.ERR_ARG),
    ("c.Send(X, 0, 2**40)", OverflowError),
    ("c.Send(X, 2**40)", OverflowError),
    ("c.Split(2**40)", OverflowError),
    ("c.Bsend(X, 0)", MPI.ERR_BUFFER),
    ("c.ibsend(1, 0)", MPI.ERR_BUFFER),
    ("MPI.Attach_buffer(bytearray(95))", MPI.ERR_BUFFER),
    ("c.Send(np.zeros(1, 'M8[s]'), 0)", BufferError),
    ("c.Send(np.array(['two']), 0)", KeyError),
    ("(c.isend(1, 0), c.recv(source=0, status=MPI.Status))", TypeError),
    ("(c.isend(1, 0), c.recv(source=0, status=3))", TypeError),
    ("c.sendrecv(1, 0, recvbuf='a')", TypeError),
    ("c.sendrecv(1, 0, recvbuf=3)", MPI.ERR_TRUNCATE),
    ("c.bcast(1, root=2**40)", OverflowError),
    ("c.Send_init(X, 5)", MPI.ERR_RANK),
    ("c.Recv_init(X, 5)", MPI.ERR_RANK),
    ("c.Gatherv(X, [np.zeros(8), [-8]])", MPI.ERR_COUNT),
    ("c.Compare(None)", TypeError),
    ("c.Create(None)", TypeError),
    ("c.Create_group(3)", TypeError),
    ("c.Set_name(3)", TypeError),
    ("c.Set_info(3)", TypeError),
    ("c.Set_info(MPI.INFO_NULL)", MPI.ERR_ARG),
    ("c.Set_errhandler(3)", TypeError),
    ("c.Set_errhandler(MPI.ERRHANDLER_NULL)", MPI.ERR_ERRHANDLER),
    ("c.Split_type('a')", TypeError),
    ("c.Split_type(MPI.COMM_TYPE_SHARED, 0, 3)", TypeError),
    ("c.Dup(3)", TypeError),
    ("c.Idup(3)", TypeError),
    ("c.Abort('a')", TypeError),
    ("MPI.Message.Probe(None)", TypeError),
    ("MPI.MESSAGE_NULL.Recv(X)", MPI.ERR_REQUEST),
    ("MPI.Request.Waitall([1, 2])", TypeError),
    ("MPI.Request.Waitany([None])", TypeError),
    ("MPI.Request.Waitall(None)", TypeError),
    ("MPI.Prequest.Startall([3])", TypeError),
    ("MPI.Prequest.Startall([MPI.REQUEST_NULL])", MPI.ERR_REQUEST),
    ("MPI.Status().Get_count(3)", TypeError),
    ("MPI.Status().Get_elements(None)", TypeError),
    ("MPI.Status().Set_elements(MPI.INT, -1)", MPI.ERR_COUNT),
    ("MPI.Group.Union(c.group, None)", TypeError),
    ("c.group.Compare(3)", TypeError),
    ("c.group.Range_incl([(0, 1, 1)])", MPI.ERR_ARG),
    ("MPI.DOUBLE.Create_indexed([-1], [0])", MPI.ERR_COUNT),
    ("MPI.Datatype.Create_struct([-1], [0], [MPI.INT])", MPI.ERR_COUNT),
    ("MPI.Datatype.Create_struct([1], [0], ['i'])", TypeError),
    ("MPI.DOUBLE.Create_subarray([4], [2], [-1])", MPI.ERR_COUNT),
    ("MPI.DOUBLE.Create_darray(4, 5, [4], [MPI.DISTRIBUTE_BLOCK], [1], [4])", MPI.ERR_RANK),
    ("MPI.DOUBLE.Create_darray(4, 0, [40], [MPI.DISTRIBUTE_BLOCK], [2], [4])", MPI.ERR_ARG),
    ("MPI.DOUBLE.Set_name(3)", TypeError),
    ("MPI.DOUBLE.Pack(X, bytearray(100), 0, None)", TypeError),
    ("MPI.DOUBLE.Pack(X, bytearray(100), 0, MPI.COMM_NULL)", MPI.ERR_COMM),
    ("MPI.DOUBLE.Pack_size(-1, c)", MPI.ERR_COUNT),
    ("MPI.Info.Create().Get_nthkey(5)", MPI.ERR_ARG),
    ("MPI.INFO_NULL.Get('a')", MPI.ERR_ARG),
    ("MPI.Compute_dims(-1, 2)", MPI.ERR_ARG),
    ("MPI.Compute_dims(6, -1)", ValueError),
    ("MPI.Compute_dims(6, 'ab')", TypeError),
    ("c.Create_cart([1]).Get_cart_rank([1, 2])", ValueError),
    ("c.Create_cart([1]).Get_coords(2**40)", OverflowError),
    ("c.Create_cart([1]).Neighbor_alltoallw(None, X[:4])", BufferError),
    ("MPI.Free_mem(3)", TypeError),
    ("MPI.Get_address(3)", TypeError),
    ("MPI.Attach_buffer(bytes(3))", BufferError),
    ("MPI.Pcontrol('a')", TypeError),
    ("MPI.Win.Create(X, 8, comm=None)", TypeError),
    ("MPI.Win.Create(X, 8, info=3, comm=c)", TypeError),
    ("MPI.Win.Create(X, 0, comm=c)", MPI.ERR_DISP),
    ("MPI.Win.Allocate(-1, comm=c)", MPI.ERR_SIZE),
    ("MPI.Win.Allocate_shared(-8, comm=c)", MPI.ERR_SIZE),
    ("w.Attach(X)", MPI.ERR_RMA_FLAVOR),
    ("w.Lock(0, 99)", MPI.ERR_ARG),
    ("w.Flush(0)", MPI.ERR_RMA_SYNC),
    ("w.Flush(None)", TypeError),
    ("w.Flush(1)", MPI.ERR_RANK),
    ("w.Get(X, 0, 'a')", ValueError),
    ("w.Get(X, 2**40)", OverflowError),
    ("w.Get(X, 0, -1)", MPI.ERR_DISP),
    ("w.Flush_all()", MPI.ERR_RMA_SYNC),
    ("w.Sync()", MPI.ERR_RMA_SYNC),
    ("w.Complete()", MPI.ERR_RMA_SYNC),
    ("w.Wait()", MPI.ERR_RMA_SYNC),
    ("w.Test()", MPI.ERR_RMA_SYNC),
    ("w.Post(None)", TypeError),
    ("(w.Post(c.group), w.Post(c.group))", MPI.ERR_RMA_SYNC),
    ("(w.Post(c.group), w.Start(c.group), w.Start(c.group))", MPI.ERR_RMA_SYNC),
    ("(w.Lock(0), w.Free())", MPI.ERR_RMA_SYNC),
    ("(w.Lock(0), w.Fence())", MPI.ERR_RMA_SYNC),
    ("(w.Lock(0), w.Start(c.group))", MPI.ERR_RMA_SYNC),
    ("(w.Lock(0), w.Put(X[:4], 0, -1))", MPI.ERR_DISP),
    ("(w.Lock(0), w.Put(X[:2], 0, (0, -3)))", MPI.ERR_COUNT),
    ("(w.Lock(0), w.Accumulate(X[:4], 0, op=3))", TypeError),
    ("(w.Lock(0), w.Accumulate(X[:4], 0, op=MPI.Op.Create(max)))", MPI.ERR_OP),
    ("(w.Lock(0), w.Compare_and_swap(X[:1], X[1:2], X[:1], 0))", MPI.ERR_TYPE),
]


@pytest.mark.parametrize(("call", "kind"), CALLS, ids=[call for call, _ in CALLS])
def test_a_wrong_call_raises_mpi4py_s_class_and_says_what_to_do(call, kind):
    def program(c):
        names = {"MPI": MPI, "np": np, "c": c, "X": X, "READ_ONLY": READ_ONLY}
        if "w." in call:
            names["w"] = MPI.Win.Create(np.zeros(4), 8, comm=c)
        with pytest.raises(MPI.Exception if isinstance(kind, int) else kind) as caught:
            eval(call, names)
        assert isinstance(kind, type) or caught.value.Get_error_class() == kind
        assert all(word in str(caught.value) for word in ("rank 0: ", "got ", "expected ", "; remedy: "))
        assert not re.search(r"\n|\ba [aeio]", str(caught.value), re.IGNORECASE)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of messages that nobody has received
        run(program, 1)


def test_what_looks_wrong_and_mpi4py_takes_is_taken():
    def program(c):
        letters = np.empty(2, "U1")
        c.Sendrecv(np.array(["a", "b"]), 0, 0, letters, 0)
        assert letters.tolist() == ["a", "b"]
        assert [MPI.Datatype.fromcode(code).name for code in ("u", "M8", "1s")] == [
            "MPI_UINT16_T", "MPI_INT64_T", "MPI_CHAR",
        ]  # fmt: skip
        info = MPI.Info.Create({"a": ""})
        none = c.Split(MPI.UNDEFINED)
        empty = MPI.DOUBLE.Create_subarray([4], [0], [4]).Get_size()
        return info["a"], type(none), none == MPI.COMM_NULL, empty, MPI.DOUBLE.Create_contiguous(1.5).Get_size()

    assert run(program, 1).results == [("", MPI.Intracomm, True, 0, 8)]
    assert MPI.Compute_dims(6, 0) == []
    assert [type(n) for n in MPI.Compute_dims(6.0, 2)] == [int, int]
