"""The command line: arguments in, one call into the stage that does the work, an exit status out."""
