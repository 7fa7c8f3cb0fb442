"""Serving a language model: the HTTP server of ``numpylm serve``, with the requests and answers of OpenAI's API."""
