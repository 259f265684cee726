"""How a listing gets from one page to the next."""
