"""Which plan? Steps of training predicted in time, bytes and memory; the best plans; the same steps played.

    from training.planner import predict, play_step

    predict(Plan(tp=2), GPTSizes(), 8, "infiniband", "toy").time_ps
    play_step(Plan(tp=2), GPTSizes(), 8, "infiniband", "toy")

No prediction runs or asks the code that trains: the tests hold one to the other.
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
