"""One question, one script: what is expected, what is measured, and whether the two agree."""
