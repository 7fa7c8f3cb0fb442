"""From text files to batches of tokens: reading, cleaning, tokenizers, documents, batches."""
