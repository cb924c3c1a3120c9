"""Random edits of random pipelines: drawn from a seed, refitted in plain arrays, judged."""
