"""Pictures and files for people, made of the events of a run. It does not know how these came about."""
