"""The browser page and the REST interface of `main.py serve`: uploads, reports, review, live traces."""
