"""What a person sees of a run: its progress, previews of tables, explained errors."""
