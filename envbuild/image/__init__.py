"""Base + layers + configuration = manifest; and making sure that exactly that image is there."""
