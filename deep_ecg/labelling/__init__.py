"""Records and streams labelled: `predict`, archives, live views."""
