"""The command line, one verb a file; `main` maps words to them without importing what is not asked for."""
