"""Speaking to people and programs at a terminal, for the command line and the demo alike.

One rule: progress and warnings go to stderr, results to stdout. So a result can be piped on
while the bar is still to be seen.
"""
