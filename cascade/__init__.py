"""The cascade: exported policies to decisions to orders, without torch or ray."""
