"""What watches a run or breaks it: traces, checks of buffers, faults. The rooms before it only know its hooks."""
