"""A checkpoint of any plan goes on under any other, and whatever happens to a save, the last good one stays."""

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ranks
from training import (
    SGD,
    AdamW,
    CheckpointError,
    GPTSizes,
    Plan,
    Trainer,
    WarmupCosine,
    last_checkpoint,
    load_checkpoint,
    save_checkpoint,
    train,
)
from training.saving import boxes

SIZES = GPTSizes(vocab=7, context=6, hidden=8, heads=4, kv_heads=2, ffn=9, layers=4)
PLANS = [
    Plan(),
    Plan(dp=3, zero=1),
    Plan(dp=2, tp=2, zero=2, microbatches=2),
    Plan(dp=2, cp=2, zero=3),
    Plan(tp=3, sp=True),
    Plan(tp=2, pp=2, microbatches=2),
    Plan(pp=2, chunks=2, schedule="interleaved", microbatches=2),
    Plan(dp=2, tp=2, pp=2, zero=3, sp=True, schedule="zb-h1", microbatches=2),
]
OPTIMIZER = AdamW(rate=0.01, clip=0.5)


def trainer_of(comm: Any, plan: Plan, **changed: Any) -> Trainer:
    """Return a trainer as all of these tests use it."""
    keywords = {"sizes": SIZES, "batch": 8, "seed": 3, "optimizer": OPTIMIZER} | changed
    return Trainer(comm, plan, **keywords)


def save_after(folder: Path, plan: Plan, steps: int = 2) -> Path:
    """Train some steps under a plan and save; return where."""

    def program(comm: Any) -> Path:
        trainer = trainer_of(comm, plan)
        for _ in range(steps):
            trainer.step()
        return save_checkpoint(trainer, folder)

    return ranks.run(program, plan.ranks).results[0]


def go_on(folder: Path, plan: Plan, steps: int = 3) -> tuple[list[float], list[float]]:
    """Load the newest checkpoint under a plan and train some steps; return losses and norms."""

    def program(comm: Any) -> tuple[list[float], list[float]]:
        trainer = trainer_of(comm, plan)
        load_checkpoint(trainer, folder)
        for _ in range(steps):
            trainer.step()
        return trainer.history.losses, trainer.history.grad_norms

    return ranks.run(program, plan.ranks).results[0]


@cache
def uninterrupted() -> tuple[list[float], list[float]]:
    """Return losses and norms of five steps of one rank."""
    run = ranks.run(lambda comm: train(comm, sizes=SIZES, batch=8, seed=3, optimizer=OPTIMIZER, steps=5), 1)
    return run.results[0].losses, run.results[0].grad_norms


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder for each plan with a checkpoint after two steps."""
    folders = [tmp_path_factory.mktemp("plan") for _ in PLANS]
    for folder, plan in zip(folders, PLANS, strict=True):
        save_after(folder, plan)
    return folders


@pytest.fixture(scope="module")
def copies(saved: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder for each plan with the checkpoint of one rank, which ranks under the plan have read and written."""
    folders = [tmp_path_factory.mktemp("copy") for _ in PLANS]

    def program(comm: Any, plan: Plan, folder: Path) -> None:
        trainer = trainer_of(comm, plan)
        load_checkpoint(trainer, saved[0])
        save_checkpoint(trainer, folder)

    for folder, plan in zip(folders, PLANS, strict=True):
        ranks.run(program, plan.ranks, plan, folder)
    return folders


@pytest.mark.parametrize("after", PLANS, ids=str)
def test_every_plan_reads_from_every_other_the_same_bits_and_goes_on(copies: list[Path], after: Plan) -> None:
    def program(comm: Any) -> None:
        trainer = trainer_of(comm, after)
        arrays = [x for state in trainer.states.values() for x in (state.x, *state.moments.values())]
        load_checkpoint(trainer, copies[0])
        of_one_rank = [x.copy() for x in arrays]
        for folder in copies[1:]:
            for x in arrays:
                x[:] = np.nan
            trainer.history.losses.clear()
            load_checkpoint(trainer, folder)
            assert all((x == y).all() for x, y in zip(arrays, of_one_rank, strict=True)), folder
        for _ in range(3):
            trainer.step()
        history = trainer.history
        np.testing.assert_allclose((history.losses, history.grad_norms), expected, rtol=1e-10)

    expected = uninterrupted()
    ranks.run(program, after.ranks)


@pytest.mark.parametrize("before", range(len(PLANS)), ids=lambda i: str(PLANS[i]))
def test_what_was_trained_under_every_plan_goes_on(saved: list[Path], before: int) -> None:
    """Under the next plan of the list."""
    history = go_on(saved[before], PLANS[(before + 1) % len(PLANS)])
    np.testing.assert_allclose(history, uninterrupted(), rtol=1e-10)


def test_the_same_plan_goes_on_bit_for_bit(saved: list[Path]) -> None:
    whole = ranks.run(lambda c: train(c, PLANS[2], sizes=SIZES, seed=3, optimizer=OPTIMIZER, steps=5), 4).results[0]
    assert go_on(saved[2], PLANS[2]) == (whole.losses, whole.grad_norms)


def test_train_goes_on_from_its_folder(tmp_path: Path) -> None:
    def program(steps: int) -> Callable[[Any], list[float]]:
        return lambda comm: (
            train(
                comm, PLANS[5], sizes=SIZES, seed=3, optimizer=OPTIMIZER, steps=steps, folder=tmp_path, save_every=2
            ).losses
        )

    ranks.run(program(3), 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    np.testing.assert_allclose(ranks.run(program(5), 4).results[0], uninterrupted()[0], rtol=1e-10)


class Killed(BaseException):
    """What ends a rank in the middle of a save."""


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_killed_at_any_moment_of_a_save_leaves_the_last_good_one(
    tmp_path: Path, victim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each of its calls of the operating system in turn; what is half written then counts for nothing."""
    plan = Plan(dp=2, zero=1)
    save_after(tmp_path / "good", plan, steps=1)
    names = ["fsync", "rename", "open"]
    originals = {name: getattr(os, name) for name in names}
    left = [0]
    rank = [0]

    def before(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if rank[0] == victim:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
            return originals[name](*args, **kwargs)

        return call

    from training import saving

    for name in names:
        monkeypatch.setattr(saving.os, name, before(name))
    write = saving._write_pieces

    def write_pieces(path: Path, pieces: Any) -> int:
        rank[0] = int(path.stem.split("-")[1])
        return write(path, pieces)

    monkeypatch.setattr(saving, "_write_pieces", write_pieces)
    for moment in range(10):
        folder = tmp_path / str(moment)
        shutil.copytree(tmp_path / "good", folder)
        left[0], rank[0] = moment, -1
        try:
            save_after(folder, plan, steps=2)
            break
        except BaseException:
            left[0] = 1000
            found = last_checkpoint(folder)
            assert found is not None
            losses, _ = go_on(folder, Plan(), steps=0)
            assert len(losses) == int(found.name[5:]) <= 2
    assert moment >= 1, "no call was interrupted"


def test_a_rank_that_cannot_write_is_an_error_on_every_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import saving

    good = save_after(tmp_path, Plan(), steps=1)
    write = saving._write_pieces

    def full_on_rank_1(path: Path, pieces: Any) -> int:
        if path.stem == "rank-1":
            raise OSError(28, "No space left on device")
        return write(path, pieces)

    monkeypatch.setattr(saving, "_write_pieces", full_on_rank_1)

    def program(comm: Any) -> str:
        trainer = trainer_of(comm, Plan(dp=3))
        trainer.step()
        with pytest.raises(CheckpointError) as problem:
            save_checkpoint(trainer, tmp_path)
        return str(problem.value)

    said = ranks.run(program, 3).results
    assert "No space left on device on rank 1" in said[0]
    assert len({*said}) == 1
    assert last_checkpoint(tmp_path) == good


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sizes": GPTSizes(vocab=8, context=6, hidden=8, heads=4, kv_heads=2, ffn=9, layers=4)}, "sizes"),
        ({"dtype": np.float32}, "dtype"),
        ({"optimizer": SGD(momentum=0.9)}, "optimizer"),
        ({"optimizer": type("AdamW", (SGD,), {})()}, "moments"),
        ({"batch": 9}, "batch"),
        ({"seed": 4}, "seed"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_checkpoint_of_another_training_is_refused(saved: list[Path], changed: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=f"load_checkpoint: got {said} .* expected .* remedy"):
        ranks.run(lambda comm: load_checkpoint(trainer_of(comm, Plan(), **changed), saved[0]), 1)


def test_settings_of_the_optimiser_may_change_on_the_way(saved: list[Path]) -> None:
    optimizer = AdamW(rate=WarmupCosine(0.02, 1, 9), decay=0.0, clip=None)

    def program(comm: Any) -> float:
        trainer = trainer_of(comm, Plan(), optimizer=optimizer)
        load_checkpoint(trainer, saved[0])
        trainer.step()
        return float(trainer.history.grad_norms[2])

    assert ranks.run(program, 1).results[0] == pytest.approx(uninterrupted()[1][2], rel=1e-10)


def damage_file(path: Path) -> None:
    file = path / "rank-0.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def remove_file(path: Path) -> None:
    (path / "rank-0.npz").unlink()


def cut_manifest(path: Path) -> None:
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text()[:-20])


def foreign_manifest(path: Path) -> None:
    (path / "manifest.json").write_text("[]")


def manifest_without_files(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["files"]
    (path / "manifest.json").write_text(json.dumps(manifest))


def manifest_with_a_list(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"files": ["rank-0.npz"]}))


def forget_file(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["files"]["rank-1.npz"]
    (path / "manifest.json").write_text(json.dumps(manifest))


def manifest_of_other_steps(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"losses": []}))


def manifest_with_words(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"losses": ["a"] * len(manifest["losses"])}))


def test_a_folder_that_cannot_be_is_an_error_before_any_step(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Trainer, "step", lambda trainer: pytest.fail("a step"))
    with pytest.raises(CheckpointError, match="File exists"):
        ranks.run(lambda comm: train(comm, steps=1, folder=tmp_path / "file"), 1)


@pytest.mark.parametrize(
    "damage",
    [
        damage_file, remove_file, cut_manifest, foreign_manifest, manifest_without_files, manifest_with_a_list,
        manifest_of_other_steps, manifest_with_words,
        forget_file,
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_an_error_on_every_rank(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(save_after(tmp_path, Plan(tp=2)))

    def program(comm: Any) -> None:
        trainer = trainer_of(comm, Plan(dp=2))
        before = trainer.states["table"].x.copy()
        with pytest.raises(CheckpointError, match="load_checkpoint: got"):
            load_checkpoint(trainer, tmp_path)
        assert (trainer.states["table"].x == before).all()

    ranks.run(program, 2)


def test_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="without a checkpoint"):
        ranks.run(lambda comm: load_checkpoint(trainer_of(comm, Plan()), tmp_path), 1)


def test_a_folder_that_not_all_ranks_see_is_an_error_on_every_rank(tmp_path: Path) -> None:
    save_after(tmp_path / "0", Plan(), steps=1)

    def program(comm: Any) -> None:
        with pytest.raises(CheckpointError, match="step-00000001 in the folder on rank 0 and nothing on rank 1"):
            train(comm, Plan(dp=2), sizes=SIZES, batch=8, seed=3, optimizer=OPTIMIZER, folder=tmp_path / str(comm.rank))

    ranks.run(program, 2)


def test_a_folder_counts_only_when_the_names_in_it_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import saving

    said: list[str] = []
    sync, rename = saving._sync, os.rename
    monkeypatch.setattr(saving, "_sync", lambda folder: (said.append(folder.name), sync(folder)))
    monkeypatch.setattr(saving.os, "rename", lambda a, b: (said.append("rename"), rename(a, b)))
    save_after(tmp_path, Plan(), steps=1)
    assert said == [".step-00000001.partial", "rename", tmp_path.name]


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    good = save_after(tmp_path, Plan(), steps=1)

    def program(comm: Any) -> None:
        trainer = trainer_of(comm, Plan(dp=2))
        trainer.step()
        trainer.states["norm"].x[0] = np.nan
        with pytest.raises(CheckpointError, match=r"x/norm.gain/0:8 with numbers that are not finite"):
            save_checkpoint(trainer, tmp_path)

    ranks.run(program, 2)
    assert last_checkpoint(tmp_path) == good


def test_saving_a_step_again_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "step-notes").mkdir()  # somebody else's
    names = [save_after(tmp_path, Plan(), steps=1).name for _ in range(3)]
    assert names == ["step-00000001", "step-00000001-01", "step-00000001-02"]
    shutil.rmtree(tmp_path / names[0])
    assert save_after(tmp_path, Plan(), steps=1).name == "step-00000001-03"
    newest = last_checkpoint(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000001-03"


def test_boxes_are_what_a_flat_range_covers() -> None:
    for rows in range(5):
        for columns in range(1, 5):
            whole = np.arange(rows * columns).reshape(rows, columns)
            for low in range(whole.size + 1):
                for high in range(low, whole.size + 1):
                    found = [whole[box].reshape(-1) for box in boxes(whole.shape, low, high)]
                    assert np.concatenate([*found, whole.reshape(-1)[:0]]).tolist() == list(range(low, high))


def test_what_a_crash_has_left_is_cleared_by_the_next_save_of_that_step(tmp_path: Path) -> None:
    left = tmp_path / ".step-00000001.partial"
    left.mkdir()
    (left / "rank-7.npz").write_bytes(b"half")
    saved = save_after(tmp_path, Plan(), steps=1)
    assert sorted(path.name for path in saved.iterdir()) == ["manifest.json", "rank-0.npz"]
    assert [path.name for path in tmp_path.iterdir()] == [saved.name]
