"""Groups, communicators, topologies, intercommunicators and windows of mpi.MPI."""

import platform
from math import prod

import numpy as np
import pytest

import ranks
from mpi import MPI, run

SIZES = (1, 2, 3, 5, 6)


@pytest.mark.parametrize("p", SIZES)
def test_a_split_orders_by_key_and_only_members_make_a_group_s_communicator(p):
    def program(comm):
        half = comm.Split(comm.rank % 2, -comm.rank)
        members = [r for r in range(p) if r % 2 == comm.rank % 2][::-1]
        assert half.group.Translate_ranks(None, comm.group) == members
        evens = comm.group.Incl(range(0, p, 2))
        if comm.rank % 2 == 0:
            made = comm.Create_group(evens)
            assert made.allgather(comm.rank) == list(range(0, p, 2))
            made.Free()
            assert made == MPI.COMM_NULL
        else:
            assert comm.Create_group(evens) == MPI.COMM_NULL
        line = comm.Create_cart([1])
        assert (type(line), bool(line)) == (MPI.Cartcomm, comm.rank == 0)
        assert comm.group == comm.Dup().group != comm.group.Dup()
        return half.allgather(comm.rank) == members

    assert all(run(program, p).results)


def test_a_duplicate_has_the_hints_that_are_given():
    def program(comm):
        comm.Set_info(MPI.Info.Create({"hint": "of the world"}))
        given = None, MPI.INFO_NULL, MPI.Info.Create({"hint": "given"})
        made = [comm.Dup(info) for info in given]
        for info in given:
            other, request = comm.Idup(info)
            request.Wait()
            made.append(other)
        return [each.Get_info().get("hint") for each in made]

    assert run(program, 1).results == [[None, None, "given"] * 2]


def test_a_duplicate_keeps_messages_apart_and_takes_attributes_by_their_keys():
    def program(comm):
        key = MPI.Comm.Create_keyval(copy_fn=lambda comm, key, value: value + 1)
        comm.Set_attr(key, 5)
        other = comm.Dup()
        comm.send("of the world", comm.rank)
        other.send("of the duplicate", comm.rank)
        return other.recv(), comm.recv(), other.Get_attr(key), comm.Get_attr(MPI.TAG_UB)

    assert run(program, 2).results == [("of the duplicate", "of the world", 6, ranks.TAG_UB)] * 2


@pytest.mark.parametrize(("n", "dims", "expected"), [
    (12, 2, [4, 3]), (72, 2, [9, 8]), (24, 3, [4, 3, 2]), (7, 2, [7, 1]), (12, [0, 2, 0], [3, 2, 2]), (1, 3, [1, 1, 1]),
])  # fmt: skip
def test_dimensions_are_balanced(n, dims, expected):
    assert MPI.Compute_dims(n, dims) == expected


@pytest.mark.parametrize("dims", [[1], [4], [2, 3], [3, 2, 1]])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_grid_is_numpy_s_and_neighbours_get_what_goes_their_way(dims, periodic):
    p = prod(dims)

    def program(comm):
        grid = comm.Create_cart(dims, periodic)
        at = np.unravel_index(grid.rank, dims)
        assert grid.coords == [int(x) for x in at]
        assert grid.Get_cart_rank(grid.coords) == grid.rank
        rows = grid.Sub([True] + [False] * (len(dims) - 1))
        assert rows.dims == dims[:1]
        sent = [(grid.rank, axis, way) for axis in range(len(dims)) for way in (-1, 1)]
        got = grid.neighbor_alltoall(sent)
        for (axis, way), came in zip([s[1:] for s in sent], got, strict=True):
            source, _ = grid.Shift(axis, -way)
            assert came == (None if source == MPI.PROC_NULL else (source, axis, -way))
        return True

    assert all(run(program, p).results)


def test_a_graph_s_neighbours_exchange_blocks():
    def program(comm):
        p, r = comm.size, comm.rank
        ring = comm.Create_dist_graph_adjacent([(r - 1) % p], [(r + 1) % p])
        got = np.zeros(2, "i8")
        ring.Neighbor_allgather(np.array([r, 10 * r]), got)
        request = ring.Ineighbor_alltoall(got.copy(), got)
        request.Wait()
        star = comm.Create_dist_graph([0] if r == 0 else [], [p - 1] if r == 0 else [], range(1, p) if r == 0 else [])
        return got.tolist(), star.Get_dist_neighbors()[:2]

    results = run(program, 4).results
    assert [got for got, _ in results] == [[(r - 2) % 4, 10 * ((r - 2) % 4)] for r in range(4)]
    assert [edges for _, edges in results] == [([], [1, 2, 3]), ([0], []), ([0], []), ([0], [])]


@pytest.mark.parametrize("p", [2, 3, 5])
def test_two_groups_collect_from_each_other(p):
    def program(comm):
        low = comm.rank < (p + 1) // 2
        local = comm.Split(0 if low else 1)
        inter = local.Create_intercomm(0, comm, (p + 1) // 2 if low else 0, tag=5)
        mine = [r for r in range(p) if (r < (p + 1) // 2) == low]
        theirs = [r for r in range(p) if r not in mine]
        assert (inter.size, inter.remote_size) == (len(mine), len(theirs))
        assert inter.allgather(comm.rank) == theirs
        out = np.zeros(2, "i8")
        inter.Allreduce(np.array([comm.rank, 1]), out)
        assert out.tolist() == [sum(theirs), len(theirs)]
        request = inter.Iallreduce(np.array([comm.rank, 1]), out)
        request.Wait()
        assert out.tolist() == [sum(theirs), len(theirs)]
        inter.send(comm.rank, comm.rank % len(theirs))
        came = [inter.recv() for source in theirs if source % len(mine) == inter.rank] if low else []
        if not low:
            came = [inter.recv() for source in theirs if source % len(mine) == inter.rank]
        assert set(came) <= set(theirs)
        assert inter.Dup().allgather(comm.rank) == theirs
        assert inter.Split(0, -inter.rank).allgather(comm.rank) == theirs[::-1]
        merged = inter.Merge(high=low)
        return merged.allgather(comm.rank)

    half = (p + 1) // 2
    assert run(program, p).results == [[*range(half, p), *range(half)]] * p


@pytest.mark.parametrize("p", SIZES)
def test_a_shared_counter_gives_each_number_once(p):
    def program(comm):
        window = MPI.Win.Allocate(8 if comm.rank == 0 else 0, 8, comm=comm)
        got = []
        for _ in range(3):
            number = np.zeros(1, "i8")
            window.Lock(0)
            window.Fetch_and_op(np.ones(1, "i8"), number, 0)
            window.Unlock(0)
            got.append(int(number[0]))
        window.Free()
        return got

    assert sorted(number for numbers in run(program, p).results for number in numbers) == list(range(3 * p))


def test_puts_arrive_by_the_fence_and_shared_memory_is_everybody_s():
    def program(comm):
        p, r = comm.size, comm.rank
        mine = np.zeros(p)
        window = MPI.Win.Create(mine, 8, comm=comm)
        window.Fence()
        for target in range(p):
            window.Put(np.array([r + 0.5]), target, r)
        window.Fence()
        shared = MPI.Win.Allocate_shared(8, 8, comm=comm)
        shared.Fence()
        whole, unit = shared.Shared_query(0)
        np.frombuffer(shared.tomemory())[0] = r
        shared.Fence()
        return mine.tolist(), np.frombuffer(whole)[0], unit

    assert run(program, 3).results == [([0.5, 1.5, 2.5], 0.0, 8)] * 3


def test_a_lock_that_is_never_given_back_is_explained():
    def program(comm):
        window = MPI.Win.Allocate(8, 8, comm=comm)
        if comm.rank == 0:
            window.Lock(0)
            comm.Barrier()
        else:
            window.Lock(0)

    with pytest.raises(ranks.DeadlockError, match=r"Lock\(.*waits for rank 0 to unlock it"):
        run(program, 2)


def test_what_is_left_out_says_so():
    def program(comm):
        for call in (lambda: MPI.File.Open(comm, "x"), lambda: comm.Spawn("x"), lambda: MPI.Session.Init()):
            with pytest.raises(NotImplementedError, match=r"left_out\.py"):
                call()

    run(program, 1)


def test_the_calls_between_neighbours_are_those_of_every_communicator_with_a_topology():
    def program(comm):
        ring = MPI.Intracomm.Create_cart(comm, [comm.size], [True])
        got = np.zeros(2, int)
        MPI.Topocomm.Neighbor_alltoall(ring, np.array([ring.rank, ring.rank]), got)
        return MPI.Topocomm.neighbor_alltoall(ring, [ring.rank, ring.rank]) == got.tolist() == ring.inedges

    assert run(program, 3).results == [True] * 3


def test_a_window_is_a_buffer_of_the_rank_s_own_memory():
    def program(comm):
        window = MPI.Win.Allocate(24, 8, comm=comm)
        mine = np.frombuffer(window, dtype=float)
        mine[:] = comm.rank
        window.Fence()
        got = np.zeros(3)
        window.Get(got, (comm.rank + 1) % comm.size)
        window.Fence()
        memoryview(window)[:8] = bytes(8)
        assert len(bytes(window)) == 24
        assert len(memoryview(MPI.WIN_NULL)) == 0
        window.Free()
        return got.tolist(), mine.tolist()

    assert run(program, 2).results == [([1] * 3, [0] * 3), ([0] * 3, [0, 1, 1])]


def test_an_attribute_is_gone_even_if_its_function_fails_and_the_error_is_shown(capsys):
    def program(comm):
        def fail(comm, key, value):
            raise ZeroDivisionError(value)

        key = MPI.Comm.Create_keyval(delete_fn=fail)
        comm.Set_attr(key, 7)
        with pytest.raises(MPI.Exception, match="an error in a function of the program") as caught:
            comm.Delete_attr(key)
        return caught.value.Get_error_class() == MPI.ERR_OTHER, comm.Get_attr(key)

    assert run(program, 1).results == [(True, None)]
    assert "ZeroDivisionError: 7" in capsys.readouterr().err


@pytest.mark.parametrize(("network", "names"), [(None, {platform.node()}), ("nvlink", {"node0", "node1"})])
def test_a_processor_s_name_is_that_of_the_machine_unless_the_network_has_nodes(network, names):
    size = 2 * ranks.presets[network].ranks_per_node if network else 2
    assert set(run(lambda comm: MPI.Get_processor_name(), size, network=network).results) == names


def test_disjoint_groups_make_communicators_in_one_call():
    def program(comm):
        low = comm.rank < 2
        group = comm.group.Range_incl([(0, 1, 1) if low else (comm.size - 1, 2, -1)])
        made = comm.Create(group)
        return made.allgather(comm.rank)

    assert run(program, 5).results == [[0, 1]] * 2 + [[4, 3, 2]] * 3


def test_a_bcast_inside_of_a_bcast_s_pickling_is_refused():
    def program(comm):
        class Calls:
            def __reduce__(self):
                return comm.bcast(str), ()

        with pytest.raises(
            MPI.Exception, match="got bcast while an object of the same communicator's bcast is pickled"
        ):
            comm.bcast(Calls())
        return comm.bcast(3)

    assert run(program, 1).results == [3]


def test_edges_without_weights_where_there_are_some_are_refused_and_a_dynamic_window_has_no_address():
    def program(comm):
        with pytest.raises(ValueError, match="got 0 weights, expected 1"):
            comm.Create_dist_graph_adjacent([0], [0], MPI.WEIGHTS_EMPTY, MPI.WEIGHTS_EMPTY)
        window = MPI.Win.Create_dynamic(comm=comm)
        return MPI.Get_address(window.tomemory()), MPI.Get_address(MPI.Alloc_mem(8)) > 0

    assert run(program, 1).results == [(0, True)]


def test_atomic_accesses_are_of_one_element_of_one_datatype():
    def program(comm):
        window = MPI.Win.Allocate(8, comm=comm)
        one, four, number = bytearray(1), bytearray(4), [bytearray(4), MPI.INT]
        window.Lock(0)
        window.Fetch_and_op(one, bytearray(1), 0, op=MPI.BOR)
        for wrong in ((four, one), (one, four), (one, number)):
            with pytest.raises(ValueError, match=r"got 4 elements, expected one|to send and .* to receive"):
                window.Fetch_and_op(*wrong, 0)
        for wrong in ((four, one, one), (one, four, one), (one, one, four), (one, number, one), (one, one, number)):
            with pytest.raises(ValueError, match=r"got 4 elements, expected one|to send and .* to receive"):
                window.Compare_and_swap(*wrong, 0)
        window.Unlock(0)

    run(program, 1)


def test_an_access_outside_of_an_epoch_is_refused():
    def program(comm):
        window, x, peer = MPI.Win.Allocate(8, comm=comm), np.zeros(1), 1 - comm.rank

        def is_refused():
            with pytest.raises(
                MPI.Exception, match=r"got an access of .* call Fence, Start, Lock or Lock_all"
            ) as caught:
                window.Put(x, peer)
            return caught.value.Get_error_class() == MPI.ERR_RMA_SYNC

        assert is_refused()
        window.Lock(peer)
        window.Put(x, peer)
        window.Unlock(peer)
        assert is_refused()
        group = comm.group.Incl([peer])
        window.Post(group)
        window.Start(group)
        window.Get(x, peer)
        window.Complete()
        window.Wait()
        assert is_refused()
        window.Fence()
        window.Accumulate(x, peer)
        window.Fence(MPI.MODE_NOSUCCEED)
        assert is_refused()
        window.Lock_all()
        window.Get(x, peer)
        window.Unlock_all()
        window.Free()

    run(program, 2)
