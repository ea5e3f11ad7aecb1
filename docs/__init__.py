"""The documentation, what draws its picture and what builds its site."""
