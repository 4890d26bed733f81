"""What sees an image: networks for vectors and for the perceptual distance."""
