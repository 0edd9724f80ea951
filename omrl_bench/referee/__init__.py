"""The referee: a method in a process of its own, what it is told, and what is made of its answers."""
