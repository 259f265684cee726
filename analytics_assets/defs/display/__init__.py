"""What a person sees of a run: progress, previews, errors."""
