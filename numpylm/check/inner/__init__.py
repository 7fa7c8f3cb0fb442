"""What happens inside a layer: its inner layers, and the lines of its backward."""
