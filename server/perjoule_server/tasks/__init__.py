"""One module a family of tasks; each implements the protocol of ``base``."""
