"""The laws of other systems as policies, one a file, written from their formulas: to compare before one switches."""
