"""How a listing is read page by page."""
