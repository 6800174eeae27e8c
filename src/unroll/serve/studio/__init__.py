"""What the page of the studio asks for: texts, trainings, samples."""
