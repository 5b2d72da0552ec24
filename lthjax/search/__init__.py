"""How tickets are found: the problem that all levels share, the searches, and what carries them out.

A search is a generator that yields requests and is sent trained tickets (`imp` is the paper's algorithm 1); the
`executor` alone knows disk, seeds and Ctrl-C. A new search is one file here. May import: tickets and all below.
"""
