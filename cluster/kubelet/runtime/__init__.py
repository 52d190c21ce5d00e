"""Container engines behind one protocol (`api`): Docker, and the sandboxes pods live in."""
