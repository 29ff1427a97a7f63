"""A study as one page: what was asked, found and shipped."""
