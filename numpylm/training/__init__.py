"""Training a model: settings, data, the loop, evaluation, workers, diagnosis."""
