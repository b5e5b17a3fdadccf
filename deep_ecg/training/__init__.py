"""One training, the trainings of a run, and processes that share them."""
