"""Where ECGs come from: WFDB files, their checks, download, the synthetic database."""
