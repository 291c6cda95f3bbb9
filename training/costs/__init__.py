"""What a step of training costs under any plan: messages, bytes sent, memory and FLOPs, by formulas of plan and sizes.

    from training import GPTSizes, Plan
    from training.costs import step_memory, step_traffic

    traffic = step_traffic(Plan(dp=2, tp=2), GPTSizes(), batch=8, dtype="float64")
    traffic[0].n_bytes  # what rank 0 sends in each step, equal to what it is counted to send

No formula runs or asks the code that trains: the tests hold one to the other, rank by rank and number by number.
"""

from training.costs.memory import model_state, step_memory
from training.costs.traffic import Traffic, step_traffic

__all__ = ["Traffic", "model_state", "step_memory", "step_traffic"]
