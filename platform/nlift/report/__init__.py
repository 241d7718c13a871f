"""What a person sees: tables, pages, plans."""
