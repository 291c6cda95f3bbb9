"""Which plan is best? A step's time, bytes and memory are predicted; the same step can be played to compare.

    from training.planner import predict, play_step

    predict(Plan(tp=2), GPTSizes(), 8, "infiniband", "toy").time_ps
    play_step(Plan(tp=2), GPTSizes(), 8, "infiniband", "toy")

No prediction runs or reads the code that trains. The tests compare the two.
"""

from training.planner.devices import DEVICES, Device, device_named
from training.planner.play import play_step
from training.planner.predict import Planner, Prediction, predict, predict_local, sent_bytes
from training.planner.search import Bound, Choices, Found, best_of_cells, best_plans

__all__ = [
    "DEVICES",
    "Bound",
    "Choices",
    "Device",
    "Found",
    "Planner",
    "Prediction",
    "best_of_cells",
    "best_plans",
    "device_named",
    "play_step",
    "predict",
    "predict_local",
    "sent_bytes",
]
