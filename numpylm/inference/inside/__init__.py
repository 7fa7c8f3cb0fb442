"""Looking inside a model of any family, and the page that shows it."""
