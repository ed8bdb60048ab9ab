"""The demo: a warehouse of real package names, processed before your eyes.

``catalogue.tsv.gz`` holds the most downloaded packages of the Python Package Index, whose own
code base is called Warehouse; `scripts/make_catalogue.py` made it.
"""
