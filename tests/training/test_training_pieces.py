"""The pieces of training, each against a formula of its own: text, parameters, optimisers, mesh, plans, errors."""

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ranks
from training import (
    SGD,
    AdamW,
    Batch,
    DynamicScale,
    GPTSizes,
    Plan,
    Trainer,
    WarmupCosine,
    spelled,
    text_batch,
    train,
    whole_parameters,
)
from training.mesh import Mesh
from training.parts import initial
from training.text import ALPHABET, IGNORED, in_words, sums
from training_claims import SMALL

V = len(ALPHABET)


# -- text --------------------------------------------------------------------------------------------------------------


def test_numbers_have_names_of_their_own() -> None:
    assert [in_words(n) for n in (0, 7, 13, 20)] == ["nought", "seven", "thirteen", "twenty"]
    assert [in_words(n) for n in (42, 99)] == ["forty-two", "ninety-nine"]
    assert len({in_words(n) for n in range(100)}) == 100


def test_every_sum_is_right() -> None:
    number = {in_words(n): n for n in range(100)}
    found = re.findall(r"(\S+) and (\S+) make (\S+)\. ", sums(np.random.default_rng(0), 2000))
    assert len(found) > 40
    assert all(number[a] + number[b] == number[c] for a, b, c in found)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    one = text_batch(3, 5, 4, 20, V)
    assert (one.labels[:, :-1] == one.tokens[:, 1:]).all()
    assert one.tokens.min() >= 0
    assert one.tokens.max() < V
    more = text_batch(3, 5, 6, 20, V)
    assert (more.tokens[:4] == one.tokens).all()  # whoever makes more, or fewer, makes the same
    others = [text_batch(4, 5, 4, 20, V), text_batch(3, 6, 4, 20, V)]
    assert all((other.tokens != one.tokens).any(1).all() for other in others)
    assert len({spelled(row) for row in one.tokens}) == 4
    assert (text_batch(3, 5, 4, 20, 5).tokens == one.tokens % 5).all()


# -- first parameters --------------------------------------------------------------------------------------------------


def test_training_begins_with_weights_of_the_right_size() -> None:
    sizes = GPTSizes(hidden=128, heads=4, kv_heads=4, ffn=256, layers=8)
    for unit, name, deviation in (
        ("table", "weight", 0.02), ("block.0", "w_qkv", 0.02), ("block.0", "w_up", 0.02),
        ("block.0", "w_out", 0.005), ("block.3", "w_down", 0.005),
    ):  # fmt: skip
        assert abs(initial(sizes, unit, name, 0).std() / deviation - 1) < 0.05
    assert (initial(sizes, "block.0", "norm1_gain", 0) == 1).all()
    assert (initial(sizes, "block.0", "b_up", 0) == 0).all()
    weights = [initial(sizes, unit, "w_up", seed) for unit, seed in (("block.0", 0), ("block.1", 0), ("block.0", 1))]
    assert all((a != b).all() for a, b in ((weights[0], weights[1]), (weights[0], weights[2])))


# -- optimisers --------------------------------------------------------------------------------------------------------


def test_adamw_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    optimizer = AdamW(rate=WarmupCosine(0.1, 2, 9), beta1=0.8, beta2=0.9, epsilon=1e-3, decay=0.2)
    x = rng.standard_normal(6)
    expected, mean, square = x.copy(), np.zeros(6), np.zeros(6)
    state = {name: np.zeros(6) for name in optimizer.moments}
    for step in range(1, 8):
        gradient = rng.standard_normal(6)
        kept = gradient.copy()
        optimizer.update(step, x, gradient, state, [slice(0, 2), slice(4, 5)])
        assert (gradient == kept).all()
        rate = WarmupCosine(0.1, 2, 9)(step)
        expected[[0, 1, 4]] -= rate * 0.2 * expected[[0, 1, 4]]
        mean, square = 0.8 * mean + 0.2 * gradient, 0.9 * square + 0.1 * gradient**2
        expected -= rate * (mean / (1 - 0.8**step)) / (np.sqrt(square / (1 - 0.9**step)) + 1e-3)
        np.testing.assert_allclose(x, expected, rtol=1e-12)


def test_sgd_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    optimizer = SGD(rate=0.1, momentum=0.7, decay=0.5)
    x, running, state = rng.standard_normal(4), np.zeros(4), {"momentum": np.zeros(4)}
    expected = x.copy()
    for step in range(1, 5):
        gradient = rng.standard_normal(4)
        kept = gradient.copy()
        optimizer.update(step, x, gradient, state, [slice(1, 3)])
        assert (gradient == kept).all()
        expected[1:3] *= 1 - 0.1 * 0.5
        running = 0.7 * running + gradient
        expected -= 0.1 * running
        np.testing.assert_allclose(x, expected, rtol=1e-12)
    assert SGD().moments == ()


def test_the_learning_rate_rises_and_falls() -> None:
    rate = WarmupCosine(2.0, 4, 14, end=0.5)
    assert [rate(step) for step in (1, 2, 4, 9, 14, 100)] == pytest.approx([0.5, 1.0, 2.0, 1.25, 0.5, 0.5])
    assert WarmupCosine(2.0, 0, 10)(5) == pytest.approx(1.0)


def test_a_gradient_is_clipped_above_the_norm_and_not_at_it() -> None:
    def program(comm: Any) -> list[float]:
        trainer = Trainer(comm, sizes=SMALL, optimizer=AdamW(clip=2.0))
        return [trainer._clipping(norm) for norm in (1.0, 2.0, 4.0)]

    assert ranks.run(program, 1).results[0] == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(rate=-1), lambda: SGD(momentum=math.nan), lambda: AdamW(beta1=1.0), lambda: AdamW(epsilon=0),
        lambda: AdamW(clip=0), lambda: WarmupCosine(1, 5, 5), lambda: SGD(decay=math.inf),
        lambda: SGD(clip="1"), lambda: SGD(rate=np.float32(-1)), lambda: WarmupCosine(-1, 0, 5),
        lambda: WarmupCosine(1, 0, 5, end=math.nan),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"got .* expected .* remedy"):
        make()


# -- mesh --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{"a": 2, "b": 3, "c": 1}, {"c": 3, "a": 1, "b": 5}, {"a": 1}])
def test_a_mesh_has_a_place_for_each_rank_and_lines_through_it(sizes: dict[str, int]) -> None:
    def program(comm: Any) -> Any:
        mesh = Mesh(comm, **sizes)
        groups = {}
        for names in [(name,) for name in sizes] + [tuple(sizes), ()]:
            along = mesh.along(*names)
            members = np.empty(along.size, np.int64)
            along_ranks = [comm.rank] if along.size == 1 else None
            if along_ranks is None:
                from collectives import ring_allgather

                along_ranks = ring_allgather(along, np.array([comm.rank])).reshape(-1).tolist()
            members[:] = along_ranks
            groups[names] = members.tolist()
        return mesh.at, groups

    p = math.prod(sizes.values())
    results = ranks.run(program, p).results
    places = [tuple(at[name] for name in sizes) for at, _ in results]
    assert places == [tuple(map(int, each)) for each in np.ndindex(*sizes.values())]
    for rank, (at, groups) in enumerate(results):
        for names, members in groups.items():
            expected = [
                other for other in range(p) if all(results[other][0][n] == at[n] for n in sizes if n not in names)
            ]
            assert members == expected, (rank, names)


def test_a_mesh_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Mesh: got 3 ranks for a=2 \* b=2, expected 4"):
        ranks.run(lambda comm: Mesh(comm, a=2, b=2), 3)
    with pytest.raises(ValueError, match="Mesh: got direction 'z'"):
        ranks.run(lambda comm: Mesh(comm, a=3).along("z"), 3)


# -- plans and errors --------------------------------------------------------------------------------------------------

FITS = {"sizes": GPTSizes(vocab=5, context=8, hidden=8, heads=4, kv_heads=4, ffn=6, layers=4), "batch": 4}


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(dp=2, tp=2), None),
        (Plan(tp=4), None), (Plan(tp=5), "4 heads"),
        (Plan(cp=8), None), (Plan(cp=9), "9 shards of sequences of 8 tokens"),
        (Plan(tp=4, cp=2, sp=True), None), (Plan(tp=3, cp=3, sp=True), "9 shards"),
        (Plan(cp=4, context="ulysses"), None), (Plan(cp=5, context="ulysses"), "4 heads"),
        (Plan(cp=2, tp=3, context="ulysses"), "4 heads"),
        (Plan(dp=2, microbatches=2), None), (Plan(dp=2, microbatches=3), "a batch of 4"), (Plan(dp=5), "a batch of 4"),
        (Plan(pp=4), None), (Plan(pp=5), "5 stages for 4 blocks"),
        (Plan(pp=2, chunks=2, schedule="interleaved", microbatches=2), None),
        (Plan(pp=3, chunks=2, schedule="interleaved", microbatches=3), "6 stages for 4 blocks"),
    ],
    ids=str,
)  # fmt: skip
def test_a_plan_fits_or_says_why_not(plan: Plan, said: str | None) -> None:
    if said is None:
        plan.check(plan.ranks, **FITS)
        return
    with pytest.raises(ValueError, match=f"Plan: got .*{re.escape(said)}.* expected .* remedy"):
        plan.check(plan.ranks, **FITS)


def test_a_plan_for_other_ranks_or_words_is_refused_on_every_rank_before_any_work() -> None:
    with pytest.raises(ValueError, match=r"got 3 ranks, expected 4 \(dp=2 \* tp=2 \* cp=1 \* pp=1\)"):
        ranks.run(lambda comm: train(comm, Plan(dp=2, tp=2), **FITS), 3)
    few = replace(FITS["sizes"], vocab=3)
    with pytest.raises(ValueError, match="tp=4 for vocab=3"):
        Plan(tp=4).check(4, few, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dp": 0},
        {"tp": 1.5},
        {"pp": True},
        {"zero": 4},
        {"schedule": "2f2b"},
        {"context": "star"},
        {"ep": 2},
        {"sp": 2},
        {"sp": 1},
        {"zero": True},
        {"recompute": "all"},
        {"recompute": False},
    ],
    ids=str,
)
def test_a_plan_of_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Plan: got .* expected .* remedy"):
        Plan(**wrong)


def test_plans_say_what_they_are() -> None:
    assert str(Plan()) == "one rank"
    assert str(Plan(dp=2, sp=True, tp=2, zero=1)) == "dp=2 tp=2 sp zero=1"
    assert Plan(dp=2, tp=3, cp=5, pp=7).ranks == 210


def test_ranks_that_were_told_different_things_all_get_the_same_error() -> None:
    def program(comm: Any) -> str:
        with pytest.raises(ValueError, match="settings on rank 1 unlike those of rank 0") as problem:
            train(comm, Plan(dp=3), seed=int(comm.rank == 1), sizes=SMALL, batch=3)
        return str(problem.value)

    assert len(set(ranks.run(program, 3).results)) == 1


@pytest.mark.parametrize(
    "differ",
    [
        lambda rank: {"plan": Plan(dp=2 + rank)}, lambda rank: {"steps": 1 + rank},
        lambda rank: {"dtype": np.float16 if rank else np.float64}, lambda rank: {"folder": "unused" if rank else None},
    ],
)  # fmt: skip
def test_whatever_ranks_were_told_differently_is_the_same_error_on_both(differ: Any) -> None:
    def program(comm: Any) -> None:
        with pytest.raises(ValueError, match="settings on rank 1 unlike those of rank 0"):
            train(comm, **({"plan": Plan(dp=2), "sizes": SMALL, "batch": 2, "steps": 1} | differ(comm.rank)))

    ranks.run(program, 2)


def test_optimisers_made_by_each_rank_are_the_same_settings() -> None:
    def program(comm: Any) -> int:
        optimizer = AdamW(rate=lambda step: 0.1 / step)
        return len(train(comm, Plan(dp=2), optimizer=optimizer, sizes=SMALL, batch=2, steps=1).losses)

    assert ranks.run(program, 2).results == [1, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1}, {"steps": 1.0}, {"save_every": 2}, {"dtype": np.longdouble}, {"dtype": "f9"}, {"seed": -1},
        {"dtype": None}, {"data": None},
        {"seed": np.int64(3)}, {"plan": "dp=2"}, {"plan": SMALL}, {"sizes": {}}, {"optimizer": "adam"},
        {"optimizer": AdamW}, {"loss_scale": 0}, {"loss_scale": "dynamic"}, {"loss_scale": np.inf},
        {"loss_scale": DynamicScale},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_of_train_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=r"train: got .* expected .* remedy"):
        ranks.run(lambda comm: train(comm, **({"sizes": SMALL} | wrong)), 1)


def changed_batch(change: Any) -> Any:
    """Return a data function that gives a changed text_batch."""
    return lambda *about: change(text_batch(*about))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: None, "NoneType from data in step 1"),
        (lambda b: Batch(b.tokens.tolist(), b.labels), "tokens list"),
        (lambda b: Batch(b.tokens.astype(float), b.labels), "tokens float64"),
        (lambda b: Batch(b.tokens[1:], b.labels), r"tokens int64 of shape \(1, 10\)"),
        (lambda b: Batch(b.tokens, b.labels[:, 1:]), r"labels int64 of shape \(2, 9\)"),
        (lambda b: Batch(b.tokens + SMALL.vocab, b.labels), "tokens from 1"),
        (lambda b: Batch(b.tokens - 1, b.labels), "tokens from -1"),
        (lambda b: Batch(b.tokens, b.labels - 2), "labels from -2"),
        (lambda b: Batch(b.tokens, b.labels + SMALL.vocab), "labels from 1"),
    ],
)
def test_a_batch_that_does_not_fit_is_an_error_on_every_rank(change: Any, said: str) -> None:
    def program(comm: Any) -> None:
        with pytest.raises((ValueError, TypeError), match=f"train: got {said}.* expected .* remedy"):
            train(comm, Plan(dp=2), sizes=SMALL, batch=2, steps=1, data=changed_batch(change))

    ranks.run(program, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: (b.tokens.astype(np.int32), b.labels.astype(np.int16)),
        lambda b: Batch(np.asfortranarray(b.tokens), b.labels.astype(np.uint8)),
    ],
)
def test_a_batch_may_have_any_integers_and_layout(change: Any) -> None:
    def losses(data: Any) -> Any:
        keywords = {"sizes": SMALL, "batch": 3, "steps": 1, "data": data}
        return ranks.run(lambda comm: train(comm, Plan(dp=2, tp=2), **keywords).losses, 4).results

    assert losses(changed_batch(change)) == losses(text_batch)


@pytest.mark.parametrize("local_steps", [None, 1])
def test_data_that_differ_between_ranks_are_an_error_on_every_rank(local_steps: int | None) -> None:
    """Two lambdas have the same name, and one that draws at random makes another batch on each rank."""

    def program(comm: Any) -> None:
        moved = lambda seed, *about: text_batch(seed + comm.rank, *about)  # noqa: E731
        with pytest.raises(ValueError, match=r"train: got data on rank 1 unlike those of rank 0.* expected .* remedy"):
            train(comm, Plan(dp=2), sizes=SMALL, batch=2, steps=1, data=moved, local_steps=local_steps)

    ranks.run(program, 2)


@pytest.mark.parametrize("rate", [None, -1.0, math.nan, "fast"])
def test_a_rate_that_is_no_number_is_an_error_before_anything_changes(rate: Any) -> None:
    def program(comm: Any) -> None:
        for make in (SGD, AdamW):
            trainer = Trainer(comm, Plan(dp=2), sizes=SMALL, batch=2, optimizer=make(rate=lambda step: rate))
            before = {unit: state.x.copy() for unit, state in trainer.states.items()}
            with pytest.raises(ValueError, match=f"train: got rate {rate!r} in step 1, expected .* remedy"):
                trainer.step()
            assert all((state.x == before[unit]).all() for unit, state in trainer.states.items())

    ranks.run(program, 2)


def test_a_batch_without_a_token_that_counts_is_an_error_on_every_rank() -> None:
    def nothing(seed: int, step: int, sequences: int, context: int, vocab: int) -> Batch:
        batch = text_batch(seed, step, sequences, context, vocab)
        return Batch(batch.tokens, np.full_like(batch.labels, IGNORED))

    with pytest.raises(ValueError, match="no token that counts in step 1"):
        ranks.run(lambda comm: train(comm, Plan(dp=2), sizes=SMALL, steps=1, data=nothing), 2)


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_no_steps_is_no_history() -> None:
    history = ranks.run(lambda comm: train(comm, sizes=SMALL, steps=0), 1).results[0]
    assert (history.losses, history.grad_norms) == ([], [])


def test_training_learns() -> None:
    sizes = GPTSizes(context=24, hidden=24, heads=2, kv_heads=2, ffn=48, layers=2)
    losses = ranks.run(
        lambda comm: train(comm, sizes=sizes, steps=60, batch=6, optimizer=AdamW(rate=0.01), dtype=np.float32).losses, 1
    ).results[0]
    assert abs(losses[0] - math.log(V)) < 0.1
    assert losses[-1] < 2.1


DENSE = GPTSizes(vocab=7, context=5, hidden=6, heads=2, kv_heads=1, ffn=7, layers=2)


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        (DENSE, {}),
        (DENSE, {"dropout": 0.3, "label_smoothing": 0.2}),
        (replace(DENSE, experts=3, shared_experts=1, capacity_factor=0.8, balance=0.5, z_loss=0.1), {}),
    ],
    ids=["dense", "dropped and smoothed", "experts"],
)
def test_gradients_are_those_of_finite_differences(sizes: GPTSizes, shares: dict[str, float]) -> None:
    """Of some numbers of each parameter: by how much the loss changes when one is moved a little each way."""
    step, rng = 1e-5, np.random.default_rng(0)

    def loss_with(unit: str, place: int, by: float) -> float:
        def program(comm: Any) -> float:
            trainer = Trainer(comm, sizes=sizes, batch=2, optimizer=SGD(rate=0.0), **shares)
            trainer.states[unit].x[place] += by
            trainer.step()
            return trainer.history.losses[0] + trainer.history.auxiliary[0]

        return ranks.run(program, 1).results[0]

    def gradients(comm: Any) -> dict[str, np.ndarray]:
        trainer = Trainer(comm, sizes=sizes, batch=2, optimizer=SGD(rate=0.0), **shares)
        trainer.step()
        norms = sum(float(state.gradient @ state.gradient) for state in trainer.states.values())
        assert trainer.history.grad_norms[0] == pytest.approx(math.sqrt(norms))
        return {unit: state.gradient.copy() for unit, state in trainer.states.items()}

    for unit, gradient in ranks.run(gradients, 1).results[0].items():
        for place in rng.choice(gradient.size, 6, replace=False):
            slope = (loss_with(unit, place, step) - loss_with(unit, place, -step)) / (2 * step)
            assert abs(slope - gradient[place]) < 1e-8, (unit, place)


def test_whole_parameters_are_those_of_the_beginning() -> None:
    plan = Plan(dp=2, tp=2, pp=2, zero=3)
    found = ranks.run(lambda comm: whole_parameters(Trainer(comm, plan, sizes=SMALL, seed=4)), 8).results[3]
    for unit, shapes in SMALL.units().items():
        for name in shapes:
            assert (found[f"{unit}.{name}"] == initial(SMALL, unit, name, 4)).all()
