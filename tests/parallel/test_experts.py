"""Claims about a mixture of experts: what a loop over tokens makes, its gradients, its costs, and its errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import parallel
import ranks
from block_claims import numeric
from expert_claims import HIDDEN, Case, added, alone, by_loop, claim_equals_one_rank, make_strategy, program, whole
from parallel import Routing
from parallel.block import mlp
from parallel.experts.exchange import Exchange
from parallel.experts.routing import largest, losses

ROUTINGS = [
    Routing(1, 1), Routing(4, 1, balance=0.5), Routing(5, 2, z_loss=0.3), Routing(3, 3, balance=2.0),
    Routing(5, 2, capacity_factor=1.0), Routing(4, 2, capacity_factor=0.6, balance=3.0, z_loss=0.1),
    Routing(3, 1, capacity_factor=0), Routing(2, 2, balance=0, capacity_factor=1.2),
]  # fmt: skip


@pytest.mark.parametrize("routing", ROUTINGS, ids=str)
def test_output_and_losses_are_those_of_a_loop_over_tokens(routing: Routing) -> None:
    for case in (Case(routing), Case(routing, n=1, shared=True), Case(routing, n=16, sequences=1, seed=3)):
        parameters, x, _ = whole(case)
        y, *losses = by_loop(case, parameters, x)
        made = alone(case)
        np.testing.assert_allclose(made.y, y, atol=1e-12)
        np.testing.assert_allclose(made.losses, losses, atol=1e-12)


@pytest.mark.parametrize("routing", ROUTINGS[1:6], ids=str)
def test_gradients_are_those_of_finite_differences(routing: Routing) -> None:
    case = Case(routing, n=4, sequences=2, shared=routing.experts == 4, seed=1)
    parameters, x, d_y = whole(case)
    strategy, positions = make_strategy(None, case, case.n), [np.arange(case.n)]
    experts = parallel.Experts(routing, positions, x.shape[0] * case.n)

    def loss() -> float:
        y, (_, _, saved) = mlp(strategy, parameters, x, experts)
        return float((y * d_y).sum()) + sum(losses(routing, saved.choice, case.n, experts.total))

    made = alone(case)
    for name, array in {**parameters, "x": x}.items():
        got = made.d_x if name == "x" else made.gradients[name]
        np.testing.assert_allclose(got, numeric(loss, array), atol=1e-7, err_msg=f"{name} off by")


SHARES = [
    {"ep": 2}, {"ep": 3, "sequences": 4}, {"ep": 5}, {"cp": 2}, {"cp": 3, "layout": "plain"}, {"tp": 2}, {"tp": 3},
    {"cp": 2, "layout": "striped"}, {"tp": 3, "sp": True}, {"ep": 2, "cp": 2, "tp": 2}, {"ep": 2, "tp": 2, "sp": True},
    {"ep": 3, "cp": 2, "n": 9, "shared": True}, {"ep": 2, "cp": 2, "tp": 3, "sp": True, "shared": True, "n": 13},
    {"cp": 5, "n": 3}, {"ep": 4, "sequences": 2}, {"ep": 2, "dtype": "f4"},
]  # fmt: skip


@pytest.mark.parametrize("share", SHARES, ids=str)
def test_ranks_make_what_one_rank_makes(share: dict[str, Any]) -> None:
    for routing in ROUTINGS[SHARES.index(share) % 3 :: 3]:
        case = Case(routing, **{"shared": len(str(routing)) % 2 == 0, **share})
        if case.ep <= routing.experts:
            claim_equals_one_rank(ranks.run(program, case.ranks, case, buffering="none").results, case)


@pytest.mark.parametrize("microbatches", [2, 5])
def test_microbatches_add_up(microbatches: int) -> None:
    case = Case(ROUTINGS[5], shared=True, ep=2)
    claim_equals_one_rank(
        ranks.run(program, 2, replace(case, sequences=10), microbatches).results, replace(case, sequences=10)
    )


def test_an_expert_that_nobody_asks_for_has_gradients_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(Routing(4, 2, balance=1.0), ep=4)
    real = whole(case)

    def shy(case: Case) -> Any:
        parameters, x, d_y = (np.abs(each) if isinstance(each, np.ndarray) else dict(each) for each in real)
        parameters["w_router"] = parameters["w_router"].copy()
        parameters["w_router"][:, 2] = -9
        return parameters, x, d_y

    monkeypatch.setattr("expert_claims.whole", shy)
    one, four = (added(ranks.run(program, p, replace(case, ep=p)).results) for p in (1, 4))
    for made in (one, four):
        assert made.kept[2] == 0
        assert made.kept.sum() == 2 * case.n * case.sequences
        assert not made.gradients["2.w_up"].any()
        assert not made.gradients["2.w_down"].any()
        assert made.gradients["w_router"][:, 2].any()  # the balance loss still moves it
    np.testing.assert_allclose(four.d_x, one.d_x, atol=1e-12)


def test_what_is_kept_by_selection_becomes_all_of_it_to_the_last_bit() -> None:
    case = Case(ROUTINGS[5])
    parameters, x, _ = whole(case)
    experts = parallel.Experts(case.routing, [np.arange(case.n)], x.shape[0] * case.n)
    (y, saved), (again, less) = (experts.forward(parameters, x, selective) for selective in (False, True))
    np.testing.assert_array_equal(again, y)
    assert less.slope is None
    for name in ("active", "slope", "came", "returned"):
        np.testing.assert_array_equal(getattr(less.again(), name), getattr(saved, name))


# -- the rules -------------------------------------------------------------------------------------------------------


def test_of_equal_logits_the_first_experts_are_chosen_the_largest_first() -> None:
    logits = np.array([[1.0, 3, 3, 2, 3], [0, 0, 0, 0, 0], [-1, -3, -1, -2, -9]])
    assert largest(logits, 3).tolist() == [[1, 2, 4], [0, 1, 2], [0, 2, 3]]


def test_capacity_rounds_up_what_was_written() -> None:
    assert Routing(8, 2).capacity(10) is None
    for factor, n, expected in ((1.0, 12, 3), (1.0, 13, 4), (1.1, 40, 11), (1.1, 41, 12), (0, 9, 0), (100, 4, 100)):
        assert Routing(8, 2, capacity_factor=factor).capacity(n) == expected


def test_no_token_sees_those_behind_it_or_other_sequences() -> None:
    case = Case(Routing(4, 2, capacity_factor=0.7), n=12, sequences=2)
    parameters, x, _ = whole(case)
    experts = parallel.Experts(case.routing, [np.arange(12)], 24)
    y, _ = experts.forward(parameters, x)
    other = x.copy()
    other[0, 7:] += 1
    other[1] = 0
    changed, _ = experts.forward(parameters, other)
    np.testing.assert_array_equal(changed[0, :7], y[0, :7])
    assert (changed[0, 7:] != y[0, 7:]).any()


@pytest.mark.parametrize("ep", [2, 3])
def test_a_layer_sends_five_all_to_alls_of_what_its_tokens_need(ep: int) -> None:
    case = Case(Routing(5, 2, capacity_factor=0.9), sequences=6, ep=ep)

    def counted(comm: Any) -> tuple[int, np.ndarray]:
        experts = parallel.Experts(case.routing, [np.arange(case.n)], 42, comm=comm)
        parameters, x, d_y = whole(case)
        mine = slice(comm.rank * 6 // ep, (comm.rank + 1) * 6 // ep)
        held = {n: each for n, each in parameters.items() if "." not in n or int(n[0]) in experts.here}
        _, saved = experts.forward(held, x[mine])
        experts.input_backward(held, saved, x[mine], d_y[mine])
        return len(experts.here), experts.loads[0].kept

    run = ranks.run(counted, ep)
    assert run.sends == [5 * (ep - 1)] * ep
    here = np.array([n for n, _ in run.results])
    ends = np.cumsum(here)
    for rank, (_, kept) in enumerate(run.results):
        to = np.array([part.sum() for part in np.split(kept, ends[:-1])])
        of_others = sum(n[1][ends[rank] - here[rank] : ends[rank]].sum() for n in run.results) - to[rank]
        rows = (
            2 * (to.sum() - to[rank]) + 2 * of_others
        )  # there and back, forward and backward, and the same for others
        assert run.bytes_sent[rank] == 8 * (rows * HIDDEN + 5 - here[rank])


def test_counts_of_runs_travel_only_if_somebody_reads_them() -> None:
    for routing, expected in ((Routing(4, balance=0), 0), (Routing(4), 2), (Routing(4, capacity_factor=1.0), 2)):

        def counted(comm: Any, routing: Routing = routing) -> None:
            positions = parallel.token_positions("zigzag", 8, 3)
            experts = parallel.Experts(routing, positions, 16, context=comm)
            experts.forward(whole(Case(routing))[0], np.ones((2, len(positions[comm.rank]), HIDDEN)))

        assert ranks.run(counted, 3).sends == [expected] * 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Routing(0), "experts=0, expected a whole number from 1 up"),
        (lambda: Routing(4, 5), "top_k=5 of 4 experts, expected a whole number from 1 to 4"),
        (lambda: Routing(4, True), "top_k=True"),
        (lambda: Routing(4, capacity_factor=-1), "capacity_factor=-1, expected a number from 0 up"),
        (lambda: Routing(4, balance=float("nan")), "balance=nan"),
        (lambda: Routing(4, z_loss=None), "z_loss=None"),
    ],
)  # fmt: skip
def test_what_makes_no_routing_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=rf"Routing: got .*{said}.*; remedy: "):
        make()


def test_more_ranks_than_experts_are_refused() -> None:
    with pytest.raises(ValueError, match="Experts: got 2 experts for 3 ranks, expected 1 or more each"):
        ranks.run(lambda comm: parallel.Experts(Routing(2), [np.arange(3)], 3, comm=comm), 3)


def test_another_number_of_tokens_is_refused() -> None:
    case = Case(Routing(2))
    experts = parallel.Experts(case.routing, [np.arange(4)], 8)
    with pytest.raises(ValueError, match="Experts: got 5 tokens, expected 4 on this rank; remedy: pass as many"):
        experts.forward(whole(case)[0], np.ones((2, 5, HIDDEN)))


def test_what_experts_made_of_a_token_is_added_the_best_experts_first() -> None:
    """Experts 2, 0 and 1 gave 1e16, -1e16 and 1: in another order the 1 is lost."""
    exchange = Exchange(None, 3, np.array([[2, 0, 1]]), np.ones((1, 3), np.bool_))
    y = np.zeros((1, 1))
    exchange.add(np.array([[-1e16], [1.0], [1e16]]), y)
    assert y == 1
