"""Files, JSON, text, console, settings, worker processes and the machine; knows nothing of ECG."""
