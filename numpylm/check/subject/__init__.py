"""What is checked: a layer, whoever wrote it, brought into one shape."""
