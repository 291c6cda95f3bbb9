"""The pictures of experiments and notebooks: functions from data to a matplotlib Figure in the common look."""
