"""Markets in closed form, in the book's place: laws, charges, and the best policy of each."""
