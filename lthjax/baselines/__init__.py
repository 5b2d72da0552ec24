"""The methods that tickets are measured against, as results beside theirs: PEP, LCM, MagPrune; and what a dense model
has to beat: popularity, PureSVD, EASE, item-kNN (`simple`).

May import: search and all below.
"""
