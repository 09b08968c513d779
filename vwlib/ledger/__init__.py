"""The ledger: claims of the paper, the statistics that judge them, and the numbers that the paper prints."""
