"""Dead letters, for people: find them, look at them, put them back, delete them."""
