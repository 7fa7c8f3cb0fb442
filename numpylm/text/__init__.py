"""From text to arrays of tokens: reading, cleaning, tokenizers, documents, batches."""
