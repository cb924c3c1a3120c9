"""The optimum of a smooth linear model: how it is found, and what float64 leaves of it."""
