"""The paper, run again: a module for each table and figure, and all of them with a line for each claim."""
