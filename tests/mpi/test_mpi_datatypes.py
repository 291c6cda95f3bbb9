"""Datatypes of mpi.MPI: where their elements lie, against NumPy's views of the same memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi import MPI, run
from mpi.buffers import simple


def packed(array, datatype, count=1):
    """Return what is sent of an array."""
    return simple([array, count, datatype], writable=False).packed()


@settings(max_examples=60)
@given(st.data())
def test_a_subarray_is_numpy_s_slice(data):
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    sub = [data.draw(st.integers(1, n)) for n in sizes]
    starts = [data.draw(st.integers(0, n - m)) for n, m in zip(sizes, sub, strict=True)]
    order = data.draw(st.sampled_from("CF"))
    code = data.draw(st.sampled_from(["d", "i", "b", "D"]))
    a = np.arange(np.prod(sizes)).astype(code).reshape(sizes, order=order)
    t = MPI.Datatype.fromcode(code).Create_subarray(sizes, sub, starts, getattr(MPI, f"ORDER_{order}")).Commit()
    part = a[tuple(slice(b, b + m) for b, m in zip(starts, sub, strict=True))]
    assert (packed(a, t) == part.ravel(order=order)).all()
    assert t.extent == a.nbytes
    assert t.size == part.nbytes


@settings(max_examples=60)
@given(
    count=st.integers(0, 4), block=st.integers(0, 3), stride=st.integers(0, 5), code=st.sampled_from("bhidD"),
    n=st.integers(1, 3),
)  # fmt: skip
def test_a_vector_is_blocks_of_an_array(count, block, stride, code, n):
    t = MPI.Datatype.fromcode(code).Create_vector(count, block, stride).Commit()
    width = max((count - 1) * stride + block, 0) if count and block else 0
    assert t.extent == width * np.dtype(code).itemsize
    a = np.arange(n * width + 1).astype(code)
    expected = [a[i * width + j * stride + k] for i in range(n) for j in range(count) for k in range(block)]
    assert packed(a, t, n).tolist() == [complex(x) if code == "D" else x for x in expected]


@settings(max_examples=60)
@given(at=st.lists(st.integers(0, 40), min_size=1, max_size=4), lengths=st.data(), code=st.sampled_from("bhid"))
def test_blocks_at_any_bytes_are_those_bytes(at, lengths, code):
    n = [lengths.draw(st.integers(0, 3)) for _ in at]
    t = MPI.Datatype.fromcode(code).Create_hindexed(n, at).Commit()
    memory, size = np.arange(80, dtype="u1"), np.dtype(code).itemsize
    expected = b"".join(memory[d : d + k * size].tobytes() for d, k in zip(at, n, strict=True))
    assert packed(memory, t).tobytes() == expected
    back = np.zeros(80, "u1")
    simple([back, 1, t], writable=True).place(np.frombuffer(expected, "u1"))
    assert packed(back, t).tobytes() == expected


def test_a_struct_is_numpy_s_structured_dtype_and_arrives_field_by_field():
    dtype = np.dtype([("a", "i4"), ("b", "f8"), ("c", "i2", 3)], align=True)
    fields = [dtype.fields[name][1] for name in "abc"]
    t = MPI.Datatype.Create_struct([1, 1, 3], fields, [MPI.INT, MPI.DOUBLE, MPI.SHORT])
    t = t.Create_resized(0, dtype.itemsize).Commit()
    assert (t.size, t.extent) == (4 + 8 + 6, dtype.itemsize)

    def program(comm):
        x, y = np.zeros(5, dtype), np.full(5, 77, "u1").view("u1").repeat(dtype.itemsize).view(dtype)
        x["a"], x["b"], x["c"] = np.arange(5), np.arange(5) / 2, comm.rank
        comm.Sendrecv([x.view("u1"), 5, t], 1 - comm.rank, 0, [y.view("u1"), 5, t], 1 - comm.rank)
        assert y.view("u1").reshape(5, -1)[:, 22:].tolist() == [[77] * (dtype.itemsize - 22)] * 5  # the padding is kept
        return y["a"].tolist(), y["b"].tolist(), y["c"].tolist()

    assert run(program, 2).results[0] == (list(range(5)), [n / 2 for n in range(5)], [[1] * 3] * 5)


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_a_dealt_array_gives_each_element_to_one_rank(p):
    n = 7
    dealt = []
    for rank in range(p):
        t = MPI.INT.Create_darray(p, rank, [n], [MPI.DISTRIBUTE_CYCLIC], [2], [p]).Commit()
        dealt.append(packed(np.arange(n, dtype="i"), t).tolist())
    assert sorted(x for part in dealt for x in part) == list(range(n))
    assert dealt[0] == [x for x in range(n) if x // 2 % p == 0]


def test_packing_is_unpacking_the_other_way_round():
    def program(comm):
        out = bytearray(100)
        at = MPI.DOUBLE.Pack(np.arange(3.0), out, 0, comm)
        at = MPI.INT.Pack_external("external32", np.array([1, 2], "i"), out, at)
        assert at == MPI.DOUBLE.Pack_size(3, comm) + MPI.INT.Pack_external_size("external32", 2)
        assert out[24:32] == bytes([0, 0, 0, 1, 0, 0, 0, 2])
        x, y = np.zeros(3), np.zeros(2, "i")
        at = MPI.DOUBLE.Unpack(out, 0, x, comm)
        MPI.INT.Unpack_external("external32", out, at, y)
        return x.tolist(), y.tolist()

    assert run(program, 1).results == [([0.0, 1.0, 2.0], [1, 2])]


def test_addresses_are_counted_from_the_bottom():
    def program(comm):
        x, y, got = np.arange(3.0), np.array([9.0]), np.zeros(4)
        t = MPI.Datatype.Create_struct(
            [3, 1], [MPI.Get_address(x), MPI.Get_address(y)], [MPI.DOUBLE, MPI.DOUBLE]
        ).Commit()
        comm.Sendrecv([MPI.BOTTOM, 1, t], comm.rank, 0, got, comm.rank)
        return got.tolist()

    assert run(program, 2).results == [[0.0, 1.0, 2.0, 9.0]] * 2


class _OnADevice:
    """Memory that only DLPack tells of, of either version, or the CUDA array interface."""

    def __init__(self, array, how):
        self.array = array
        if how == "interface":
            self.__cuda_array_interface__ = array.__array_interface__
        elif how == "versions":
            self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__
        else:
            self.__dlpack__, self.__dlpack_device__ = lambda: array.__dlpack__(), array.__dlpack_device__


@pytest.mark.parametrize("how", ["interface", "versions", "no versions"])
@pytest.mark.parametrize("code", ["f8", "i2", "c8"])
def test_memory_of_other_libraries_is_sent_and_received_into(how, code):
    def program(comm):
        x, y = np.arange(6).reshape(2, 3).astype(code) + comm.rank, np.zeros((2, 3), code)
        comm.Sendrecv(_OnADevice(x, how), 1 - comm.rank, 0, _OnADevice(y, how), 1 - comm.rank)
        return (y == np.arange(6).reshape(2, 3) + 1 - comm.rank).all()

    assert all(run(program, 2).results)


def test_messages_take_a_derived_datatype_once_it_is_committed():
    def program(comm):
        made, x = MPI.DOUBLE.Create_contiguous(2), np.arange(2.0)
        for copy in (made, made.Dup()):
            for call in (
                lambda: comm.Send([x, 1, copy], 0), lambda: comm.Bcast([x, copy]),  # noqa: B023
                lambda: comm.Alltoallw([x, [copy]], [x.copy(), [copy]]),  # noqa: B023
                lambda: copy.Pack(x, bytearray(16), 0, comm),  # noqa: B023
                lambda: copy.Unpack(bytearray(16), 0, x, comm),  # noqa: B023
                lambda: copy.Pack_external("external32", x, bytearray(16), 0),  # noqa: B023
                lambda: copy.Unpack_external("external32", bytearray(16), 0, x),  # noqa: B023
                lambda: copy.Pack_size(1, comm),  # noqa: B023
            ):  # fmt: skip
                with pytest.raises(MPI.Exception, match=r"before its Commit.* call Commit once") as caught:
                    call()
                assert caught.value.Get_error_class() == MPI.ERR_TYPE
        got = np.zeros(2)
        comm.Sendrecv([x, 1, made.Commit().Dup()], 0, 0, [got, 1, MPI.DOUBLE.Create_vector(1, 2, 2).Commit()], 0)
        return got.tolist()

    assert run(program, 1).results == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("spec", "kind", "text"),
    [
        ([np.zeros(3), 4, MPI.DOUBLE], ValueError, "buffer of 24"),
        ([np.zeros(3), -1], ValueError, "count -1"),
        ([np.zeros(3)[::2], MPI.DOUBLE], BufferError, "not contiguous"),
        ([np.zeros(3), "xyz"], KeyError, "type code 'xyz'"),
        (["text", MPI.CHAR], TypeError, "of type str"),
        ([np.zeros(3), 1, 2, 3, 4], ValueError, "5 items"),
    ],
)
def test_a_wrong_buffer_is_told_by_call_what_came_and_a_remedy(spec, kind, text):
    with pytest.raises(kind, match=rf"rank 0: Send\(dest=0.*{text}.*remedy"):
        run(lambda comm: comm.Send(spec, 0), 1)


def test_an_op_of_the_program_sees_a_derived_datatype_as_it_lies_in_memory():
    def program(comm):
        t = MPI.INT.Create_vector(2, 1, 2).Commit()

        def add_first_and_last(given, out, datatype):
            assert datatype == t
            mine, other = np.frombuffer(given, "i4"), np.frombuffer(out, "i4")
            other[[0, 2]] += mine[[0, 2]]

        op = MPI.Op.Create(add_first_and_last, commute=True)
        x, out = np.array([comm.rank, 50, 1], "i4"), np.array([7, 8, 9], "i4")
        comm.Allreduce([x, 1, t], [out, 1, t], op)
        op.Free()
        return out.tolist()

    assert run(program, 4).results == [[6, 8, 4]] * 4


@pytest.mark.parametrize(("lengths", "displs", "parts", "extent"), [
    ([1, 1, 1], [0, 2, 4], ["BYTE", "SHORT", "BYTE"], 6), ([1, 2, 3], [1, 27, 71], ["INT", "DOUBLE", "INT"], 88),
    ([1, 1], [0, 8], ["DOUBLE_COMPLEX", "CHAR"], 16), ([1, 1], [0, 4], ["INT", "CHAR"], 8), ([3], [0], ["CHAR"], 3),
    ([1, 1], [0, 32], ["LONG_DOUBLE_INT", "SHORT_INT"], 48), ([1, 1], [0, 8], ["FLOAT_INT", "CHAR"], 12),
])  # fmt: skip
def test_the_end_of_a_struct_is_aligned_as_in_c(lengths, displs, parts, extent):
    types = [getattr(MPI, name) for name in parts]
    made = MPI.Datatype.Create_struct(lengths, displs, types)
    assert made.extent == extent
    assert made.Create_vector(2, 1, 2).extent == 3 * extent
    longer = MPI.Datatype.Create_struct([1, 1], [0, extent], [made, MPI.CHAR])
    assert longer.extent % max(MPI._typealign(each) for each in types) == 0
    assert MPI.Datatype.Create_struct([1], [0], [types[0].Create_resized(0, 13)]).extent == 13


def test_blocks_of_a_reduce_scatter_have_the_datatype_and_the_size_of_what_is_received():
    def program(comm):
        x, out = np.arange(4, dtype="i4"), np.zeros(4, "f4")
        for received in ([out, 2, MPI.FLOAT], [out, 1, MPI.INT]):
            with pytest.raises(ValueError, match=r"to send and .* to receive"):
                comm.Reduce_scatter([x, 4, MPI.INT], received, [2, 2])
        return True

    assert run(program, 2).results == [True, True]
