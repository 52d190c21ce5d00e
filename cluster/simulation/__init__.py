"""The world on virtual time: loop, engine, network, git and disk, for plans, `--runtime simulated` and tests."""
