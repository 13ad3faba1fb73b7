"""The outcome of a run for people: on the console, as JSON, Markdown and a page with plots."""
