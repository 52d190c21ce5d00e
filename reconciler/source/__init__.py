"""Where revisions come from: Git repositories and folders.  Blobs are read from the object database, never from a work tree."""
