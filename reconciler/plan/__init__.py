"""What to do with each object, decided purely: normalise, diff, order, prune guard."""
