"""Training over many ranks: pipeline schedules as data, checked and played on a virtual clock."""
