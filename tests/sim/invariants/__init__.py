"""What must hold after every step of every world, one rule a file.

A rule is told each change of the store and each start of a container, and asked again when everything is at rest.  It
answers with a sentence for each violation.
"""
