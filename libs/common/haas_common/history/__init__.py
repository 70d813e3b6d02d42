"""Growth and retention of the history: room for the next events, ranges that are listed, written out and dropped.

`headroom` runs in a service. The rest runs on the operator's machine as the database's superuser (`haas history`).
"""
