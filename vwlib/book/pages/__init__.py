"""What the pages show of models, words and studies: tables, and pictures for `vwlib.book.figures`."""
