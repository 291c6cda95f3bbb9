"""Properties that changes to the code had broken unnoticed."""

import numpy as np
import pytest

import ranks

# A message takes 10,000 ps whatever its size, one to the rank itself 10; none waits for another.
STEADY = ranks.Network(name="steady", inter=ranks.Link(10_000, 0), itself=ranks.Link(10, 0), ports=False)


@pytest.mark.parametrize("tag", [ranks.ANY_TAG, 1])
@pytest.mark.parametrize("lead_ps", [0, 5_000, 9_000])
def test_a_nonblocking_wildcard_takes_what_its_own_rank_sends_later_if_that_arrives_first(tag, lead_ps):
    def program(comm):
        if comm.rank == 1:
            comm.Send(np.zeros(1), 0, 9)
            ranks.spend(comm, 10_000 - lead_ps)
            comm.Send(np.full(1, 1.0), 0, 1)
            return comm.recv(source=0, tag=2)
        comm.Recv(np.zeros(1), 1, 9)
        got, rest = np.full(1, 9.0), np.full(1, 9.0)
        request = comm.Irecv(got, ranks.ANY_SOURCE, tag)
        comm.Send(np.zeros(1), 0, 1)
        request.Wait()
        comm.Recv(rest, ranks.ANY_SOURCE, tag)
        comm.send("end", 1, 2)
        return got[0], rest[0]

    assert ranks.run(program, 2, network=STEADY).results[0] == (0.0, 1.0)


@pytest.mark.parametrize("freed", ["before it is sent", "when it is there", "after a wait for another"])
def test_a_receive_whose_request_was_freed_gets_a_message_of_just_its_size(freed):
    def program(comm):
        if comm.rank == 0:
            x = np.zeros(3)
            request = comm.Irecv(x, 1, 1)
            if freed == "when it is there":
                comm.recv(source=1, tag=2)
            elif freed == "after a wait for another":
                assert ranks.Request.Waitany([request, comm.irecv(source=1, tag=2)]) == 1
            request.Free()
            comm.send("free", 1, 3)
            comm.recv(source=1, tag=2)
            return x.tolist()
        if freed == "when it is there":
            comm.Send(np.arange(3.0), 0, 1)
        if freed != "before it is sent":
            comm.send("go on", 0, 2)
        comm.recv(source=0, tag=3)
        if freed != "when it is there":
            comm.Send(np.arange(3.0), 0, 1)
        return comm.send("sent", 0, 2)

    assert ranks.run(program, 2).results[0] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("buffering", ["eager", "none"])
def test_elements_behind_a_message_stay_as_they_are_though_a_longer_one_came_before(buffering):
    sizes = [2, 5, 2, 5, 2, 0, 2, 5, 0, 2]

    def program(comm):
        kept = []
        for n in sizes:
            if comm.rank == 0:
                comm.Send(np.full(n, 1.0), 1)
                comm.recv(source=1)
            else:
                x = np.full(7, -1.0)
                comm.Recv(x, 0)
                comm.send("next", 0)
                kept.append(x.tolist() == [1.0] * n + [-1.0] * (7 - n))
        return kept

    assert ranks.run(program, 2, buffering=buffering).results[1] == [True] * len(sizes)


@pytest.mark.parametrize("fault", [ranks.SlowLink(factor=3), ranks.Delay(by_ps=20_000)])
def test_the_second_copy_of_a_message_is_as_slow_as_the_first(fault):
    def program(comm):
        if comm.rank == 0:
            return comm.Send(np.ones(1), 1)
        requests = [comm.Irecv(np.zeros(1), 0) for _ in range(2)]
        requests.reverse()
        complete = ranks.Request.Waitsome(requests)
        return sorted(complete), round(ranks.Wtime() * 1e12)

    faults = [fault, ranks.Duplicate(tolerated=True)]
    assert ranks.run(program, 2, network=STEADY, faults=faults).results[1] == ([0, 1], 30_000)


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta"])
@pytest.mark.parametrize("way", ["Recv", "Irecv", "Mprobe", "late Recv"])
def test_a_send_that_nobody_has_received_can_be_cancelled_whatever_came_of_those_before_it(way, network):
    def program(comm):
        x = np.zeros(1)
        for _ in range(3):
            if comm.rank == 0:
                if way != "late Recv":
                    comm.recv(source=1)
                comm.Send(x, 1, 1)
                comm.recv(source=1)
                continue
            if way != "late Recv":
                comm.send("go", 0)
            if way == "Irecv":
                comm.Irecv(x, 0, 1).Wait()
            elif way == "Mprobe":
                comm.Mprobe(0, 1).Recv(x)
            else:
                comm.Recv(x, 0, 1)
            comm.send("next", 0)
        if comm.rank == 1:
            return None
        request, status = comm.Issend(x, 1, 1), ranks.Status()
        request.Cancel()
        request.Wait(status)
        return status.Is_cancelled()

    assert ranks.run(program, 2, network=network).results[0] is True
