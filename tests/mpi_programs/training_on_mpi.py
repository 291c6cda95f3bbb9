"""Run under mpiexec: training under plans for this many ranks, and a checkpoint between two of them, on real MPI."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

import ranks
from ranks.real import world
from training import SGD, Plan, Trainer, load_checkpoint, save_checkpoint, train
from training_claims import LIMITED, OPTIMIZERS, Case, alone, claim_equals_one_rank, plans, plans_with_experts, trained

comm, folder = world(), sys.argv[1]
case, one_step = Case(), Case(steps=1, dropout=0.2, label_smoothing=0.1)
held = 0
every = plans(comm.size)[::3]  # simulated ranks try all of them
for plan in every:
    claim_equals_one_rank(comm, plan, one_step, alone(one_step))
    held += 1
with_experts = Case(LIMITED, steps=1)
for plan in plans_with_experts(comm.size):
    claim_equals_one_rank(comm, plan, with_experts, alone(with_experts))
    held += 1


def trainer(plan: Plan) -> Trainer:
    return Trainer(comm, plan, sizes=case.sizes, batch=case.batch, seed=case.seed, optimizer=OPTIMIZERS[case.optimizer])


before, after = trainer(every[0]), trainer(every[-1])
before.step()
save_checkpoint(before, folder)
load_checkpoint(after, folder)
after.step()
losses = alone(case)[0].losses
assert max(abs(got - wanted) for got, wanted in zip(after.history.losses, losses, strict=True)) < 1e-9

# Numbers of 16 bits are those of simulated ranks to the last bit: sums have one order there and here.
mixed = replace(case, dtype="bfloat16")
for plan in (Plan(tp=2, pp=2, microbatches=2), Plan(cp=2, dp=2, zero=3)):
    history, parameters = trained(comm, plan, mixed)
    expected = ranks.run(lambda simulated: trained(simulated, plan, mixed), 4).results[comm.rank]  # noqa: B023
    assert history == expected[0], plan
    assert all((parameters[name] == each).all() for name, each in expected[1].items()), plan

# One step of SGD apart, and the average: that is data parallelism.
settings = {"sizes": case.sizes, "batch": case.batch, "steps": 2, "optimizer": SGD(rate=0.5)}
dense = train(comm, Plan(dp=comm.size), **settings).losses
apart = train(comm, Plan(dp=comm.size), **settings, local_steps=1, outer=SGD(rate=1.0)).losses
assert max(abs(got - wanted) for got, wanted in zip(apart, dense, strict=True)) < 1e-12
comm.Barrier()
sys.stdout.write(f"rank {comm.rank} held {held} plans\n")
