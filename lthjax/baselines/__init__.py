"""The methods that tickets are measured against: PEP, LCM and MagPrune, as results beside those of tickets.

May import: search and all below.
"""
