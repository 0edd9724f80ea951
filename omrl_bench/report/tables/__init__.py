"""Tables: what they hold, their order, and how they are written as Markdown, LaTeX, CSV and in the terminal."""
