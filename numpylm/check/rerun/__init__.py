"""Running the layer again under other conditions."""
