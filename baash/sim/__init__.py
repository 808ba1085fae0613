"""A made-up world for the whole of BAASH: one thread, one seed, any number of nodes. ``docs/simulation.md`` says what is simulated."""
