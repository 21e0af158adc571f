"""Ways to hold many files in one, a file each: what is inside, and reading one of them where it lies."""
