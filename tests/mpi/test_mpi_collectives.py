"""Collectives of mpi.MPI: what they compute is what NumPy does, for every number of ranks and every size."""

from functools import reduce

import numpy as np
import pytest

from mpi import MPI, run

SIZES = (1, 2, 3, 4, 5, 7, 8)
LENGTHS = (0, 1, 3, 17)


def on(size, program, *args, **options):
    """Return what a program comes to on each of `size` ranks."""
    return run(program, size, *args, **options).results


def data(rank, n, dtype="i8"):
    """Return the elements of one rank."""
    return ((np.arange(n) * 7 + rank * 13) % 23 + 1).astype(dtype)


@pytest.mark.parametrize("p", SIZES)
def test_moving_collectives_move_every_block_to_its_place(p):
    def program(comm, n):
        r, root = comm.rank, p - 1
        x = data(r, n)
        whole, column = np.concatenate([data(s, n) for s in range(p)]), np.empty(n * p, "i8")
        comm.Allgather(x, column)
        assert (column == whole).all()
        b = x.copy()
        comm.Bcast(b, root)
        assert (b == data(root, n)).all()
        gathered = np.empty(n * p, "i8") if r == root else None
        comm.Gather(x, gathered, root)
        assert r != root or (gathered == whole).all()
        part = np.empty(n, "i8")
        comm.Scatter(gathered, part, root)
        assert (part == x).all()
        comm.Alltoall(np.repeat(np.arange(p), n) + 100 * r, column)
        assert (column == np.repeat(100 * np.arange(p), n) + r).all()
        return True

    for n in LENGTHS:
        assert all(on(p, program, n))


@pytest.mark.parametrize("p", SIZES)
@pytest.mark.parametrize("n", [3, 4000])
def test_a_broadcast_fills_the_column_that_it_is_given_and_writes_to_nothing_of_the_root(p, n):
    def program(comm):
        x, column = np.full((n, 4), float(comm.rank)), MPI.DOUBLE.Create_vector(n, 1, 4).Commit()
        x.flags.writeable = comm.rank != p - 1
        comm.Bcast([x.reshape(-1)[1:], 1, column], p - 1)
        return x.sum(axis=0).tolist()

    assert on(p, program) == [[n * r, n * (p - 1.0), n * r, n * r] for r in range(p)]


@pytest.mark.parametrize("p", SIZES)
def test_vector_collectives_move_blocks_of_any_size(p):
    def program(comm):
        r, root = comm.rank, p // 2
        counts = [(3 * s) % 4 for s in range(p)]
        whole = np.concatenate([data(s, counts[s]) for s in range(p)])
        at = np.cumsum([0, *counts])[:-1].tolist()
        got = np.zeros(whole.size, "i8")
        comm.Allgatherv(data(r, counts[r]), [got, counts, at, MPI.INT64_T])
        assert (got == whole).all()
        got[:] = 0
        comm.Gatherv(data(r, counts[r]), [got, counts], root)
        assert r != root or (got == whole).all()
        part = np.zeros(counts[r], "i8")
        comm.Scatterv([whole, counts] if r == root else None, part, root)
        assert (part == data(r, counts[r])).all()
        sent = np.concatenate([np.full((r + d) % 3, 10 * r + d) for d in range(p)])
        came = np.zeros(sum((s + r) % 3 for s in range(p)), "i8")
        comm.Alltoallv([sent, [(r + d) % 3 for d in range(p)]], [came, [(s + r) % 3 for s in range(p)]])
        assert (came == np.concatenate([np.full((s + r) % 3, 10 * s + r) for s in range(p)])).all()
        return True

    assert all(on(p, program))


OPS = {
    "SUM": np.add, "PROD": np.multiply, "MAX": np.maximum, "MIN": np.minimum, "BAND": np.bitwise_and,
    "BOR": np.bitwise_or, "BXOR": np.bitwise_xor, "LAND": np.logical_and, "LOR": np.logical_or, "LXOR": np.logical_xor,
}  # fmt: skip


@pytest.mark.parametrize("p", SIZES)
@pytest.mark.parametrize("name", OPS)
def test_reductions_are_numpy_s(p, name):
    ufunc, op = OPS[name], getattr(MPI, name)

    def program(comm, n):
        r = comm.rank
        all_x = [data(s, n) for s in range(p)]
        expected = reduce(ufunc, all_x)
        x, out = data(r, n), np.empty(n, "i8")
        comm.Allreduce(x, out, op)
        assert (out == expected).all()
        out[:] = x
        comm.Allreduce(MPI.IN_PLACE, out, op)
        assert (out == expected).all()
        comm.Reduce(x, out if r == 0 else None, op)
        assert (out == expected).all()
        comm.Scan(x, out, op)
        assert (out == reduce(ufunc, all_x[: r + 1])).all()
        out[:] = -5
        comm.Exscan(x, out, op)
        assert (out == (reduce(ufunc, all_x[:r]) if r else -5)).all()
        block = np.empty(n, "i8")
        comm.Reduce_scatter_block(np.tile(x, p), block, op)
        assert (block == expected).all()
        return (x == data(r, n)).all()

    for n in LENGTHS:
        assert all(on(p, program, n))


@pytest.mark.parametrize("p", SIZES)
def test_objects_go_to_everybody_and_reductions_follow_mpi4py_s_tree(p):
    def program(comm):
        r = comm.rank
        assert comm.bcast({"rank": r}, root=p - 1) == {"rank": p - 1}
        assert comm.allgather("a" * r) == ["a" * s for s in range(p)]
        assert comm.gather(r, root=p - 1) == (list(range(p)) if r == p - 1 else None)
        assert comm.scatter([[s] * s for s in range(p)] if r == 0 else None) == [r] * r
        assert comm.alltoall([(r, s) for s in range(p)]) == [(s, r) for s in range(p)]
        assert comm.scan([r], lambda x, y: x + y) == list(range(r + 1))
        assert comm.exscan([r], lambda x, y: x + y) == (list(range(r)) if r else None)
        assert comm.allreduce((r % 3, r), MPI.MAXLOC) == max(
            ((s % 3, s) for s in range(p)), key=lambda x: (x[0], -x[1])
        )
        return comm.allreduce(f"{r}", lambda x, y: f"({x}{y})")

    def tree(low, high):
        if high - low == 1:
            return f"{low}"
        half = 1 << ((high - low - 1).bit_length() - 1)
        return f"({tree(low, low + half)}{tree(low + half, high)})"

    assert on(p, program) == [tree(0, p)] * p


def test_an_op_that_is_not_commutative_is_reduced_in_rank_order():
    def program(comm):
        def last_digit_first(given, out, datatype):
            mine, other = np.frombuffer(given, "i8"), np.frombuffer(out, "i8")
            other[:] = mine * 10 + other

        op = MPI.Op.Create(last_digit_first, commute=False)
        out = np.empty(3, "i8")
        comm.Allreduce(np.full(3, comm.rank + 1), out, op)
        op.Free()
        return out.tolist()

    assert on(2, program) == [[12] * 3] * 2


def test_a_collective_never_gives_its_messages_to_the_program_s_wildcards():
    def program(comm):
        request = comm.irecv(source=MPI.ANY_SOURCE, tag=MPI.ANY_TAG)
        total = comm.allreduce(comm.rank)
        comm.Barrier()
        comm.send("mine", (comm.rank + 1) % comm.size)
        return total, request.wait()

    assert on(4, program) == [(6, "mine")] * 4


@pytest.mark.parametrize("p", SIZES)
@pytest.mark.parametrize(("name", "best"), [("MAXLOC", max), ("MINLOC", min)])
def test_of_equal_values_the_lowest_location_wins(p, name, best):
    def program(comm):
        pairs = np.zeros(3, [("value", "f8"), ("at", "i4"), ("rest", "i4")])
        pairs["value"], pairs["at"] = [comm.rank % 2, 7, -comm.rank], p - comm.rank
        out = pairs.copy()
        comm.Allreduce([pairs.view("u1"), 3, MPI.DOUBLE_INT], [out.view("u1"), 3, MPI.DOUBLE_INT], getattr(MPI, name))
        return out["value"].tolist(), out["at"].tolist()

    values = [best(r % 2 for r in range(p)), 7.0, best(-r for r in range(p))]
    at = [min(p - r for r in range(p) if r % 2 == values[0]), 1, p + values[2]]
    assert on(p, program) == [(values, at)] * p


@pytest.mark.parametrize("p", [1, 3])
@pytest.mark.parametrize("room", [2, 3])
def test_blocks_may_have_room_for_more_than_comes(p, room):
    def program(comm):
        got = np.full(p * room, -1)
        comm.Allgather(np.array([comm.rank, 9]), [got, room, MPI.LONG])
        return got.reshape(p, room).tolist()

    assert run(program, p).results == [[[r, 9] + [-1] * (room - 2) for r in range(p)]] * p


STRUCT = MPI.Datatype.Create_struct([1, 1], [0, 8], [MPI.DOUBLE, MPI.LONG]).Commit()


@pytest.mark.parametrize(("op", "datatypes"), [
    (MPI.SUM, [MPI.C_BOOL, MPI.BYTE, MPI.LOGICAL, MPI.DOUBLE_INT, STRUCT]), (MPI.MAX, [MPI.C_BOOL, MPI.DOUBLE_COMPLEX]),
    (MPI.LAND, [MPI.DOUBLE, MPI.DOUBLE_COMPLEX, MPI.BYTE]), (MPI.BOR, [MPI.DOUBLE, MPI.C_BOOL, MPI.PACKED]),
    (MPI.MAXLOC, [MPI.INT, STRUCT]), (MPI.REPLACE, [MPI.INT]),
])  # fmt: skip
def test_an_op_refuses_datatypes_that_it_is_not_defined_for(op, datatypes):
    def program(comm, datatype):
        one, other = bytearray(datatype.extent), bytearray(datatype.extent)
        with pytest.raises(MPI.Exception, match=r"Allreduce\(.* got MPI_.* of .* expected .* remedy") as caught:
            comm.Allreduce([one, 1, datatype], [other, 1, datatype], op)
        assert caught.value.Get_error_class() == MPI.ERR_OP

    for datatype in datatypes:
        run(program, 2, datatype)


def test_truth_values_have_logical_ops_and_bytes_have_bitwise_ones():
    def program(comm):
        both, either, bits = np.array([True, comm.rank == 0]), np.empty(2, bool), bytearray(1)
        comm.Allreduce(both, either, MPI.LXOR)
        comm.Allreduce(bytes([1 << comm.rank]), bits, MPI.BOR)
        return either.tolist(), bits[0]

    assert run(program, 2).results == [([False, True], 3)] * 2


@pytest.mark.parametrize("call", [
    lambda comm, x: comm.Allreduce(x, x), lambda comm, x: comm.Iallreduce(x, x), lambda comm, x: comm.Alltoall(x, x),
    lambda comm, x: comm.Allgather(x[2 * comm.rank:][:2], x), lambda comm, x: comm.Alltoallv([x, [2, 2]], [x, [2, 2]]),
    lambda comm, x: comm.Scan([x, 2, 1, MPI.DOUBLE], x[1:3]), lambda comm, x: comm.Reduce_scatter_block(x, x[:2]),
    lambda comm, x: comm.Reduce_scatter(x, x[:2], [2, 2]),
    lambda comm, x: comm.Scatter(x, x[2 * comm.rank:][:2], comm.rank),
    lambda comm, x: comm.Scatterv([x, 2], x[2 * comm.rank:][:2], comm.rank),
])  # fmt: skip
def test_one_buffer_to_send_and_to_receive_is_refused_with_in_place_as_the_remedy(call):
    def program(comm):
        x = np.zeros(4)
        with pytest.raises(
            MPI.Exception, match=r"got one buffer to send and to receive, .* pass MPI.IN_PLACE"
        ) as caught:
            call(comm, x)
        assert caught.value.Get_error_class() == MPI.ERR_BUFFER
        comm.Allreduce(x[:2], x[2:])
        comm.Allreduce([x, 2, 0, MPI.DOUBLE], [x, 2, 2, MPI.DOUBLE])
        comm.Allgather(MPI.IN_PLACE, x)
        comm.Allreduce(x[:0], x[:0])

    run(program, 2)


def test_a_count_that_is_not_what_its_rank_sends_is_refused():
    def program(comm):
        for count in (1, 3):
            told = rf"Allgatherv\(.* got 16 B to send, and {8 * count} B of rank {comm.rank} to receive, .*; remedy: "
            with pytest.raises(ValueError, match=told):
                comm.Allgatherv(np.zeros(2), [np.zeros(6), [count] * 2])

    run(program, 2)
