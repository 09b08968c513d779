"""The study: its plan of chunks, their store, and the runs that fill it."""
