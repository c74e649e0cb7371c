"""What a person looks at after a run: report page, previews, plots."""
