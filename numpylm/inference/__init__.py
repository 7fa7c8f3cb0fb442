"""Using a trained model: sampling, generation, scoring, and looking inside."""
