"""A plan carried out by server-side apply, wave by wave; the inventory is recorded before an object is created."""
