"""The world of postcards: what scenes show, what is true of them, and how they are drawn."""
