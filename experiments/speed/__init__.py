"""How fast is it? Benchmarks, each beside a peer in one run; none is a test."""
