"""One process of PyTorch's gloo all-reduce: argv is rank, processes, the file they meet at, and JSON of the job."""

import json
import statistics
import sys
from time import perf_counter

import torch
import torch.distributed as dist

rank, p, meeting = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
job = json.loads(sys.argv[4])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=p)
rows = []
for n_bytes in job["sizes"]:
    x = torch.full((n_bytes // 4,), float(rank + 1))
    dist.all_reduce(x)  # in place; later turns add up what is there already, which takes as long
    if not bool((x == p * (p + 1) / 2).all()):
        raise AssertionError(f"gloo: wrong sum of {n_bytes} bytes")
    calls = max(1, min(50, (4 << 20) // n_bytes // 8))
    times_us = []
    for _ in range(job["turns"]):
        x.zero_()
        dist.barrier()
        begin = perf_counter()
        for _ in range(calls):
            dist.all_reduce(x)
        times_us.append((perf_counter() - begin) / calls * 1e6)
    rows.append({"bytes": n_bytes, "gloo": statistics.median(times_us)})
if rank == 0:
    print(json.dumps({"library": f"gloo of PyTorch {torch.__version__}", "rows": rows}))
dist.destroy_process_group()
