"""From the mosaic of a sensor to a picture: packing, demosaicing, development."""
