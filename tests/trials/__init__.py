"""Random trials: models, data, edits and questions drawn from a seed, judged by the oracle of the tests."""
