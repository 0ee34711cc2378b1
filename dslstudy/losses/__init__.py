"""Loss functions: one loss, one file (book: the chapters on each loss)."""
