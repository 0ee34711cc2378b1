"""Tables of the book as pandas data frames."""
