"""What the network sees: R-peaks, rhythm, shape and P wave of beats, templates, replays, and their cache."""
