"""A network's file: its description, how it is read and run, and from probability to label."""
