"""What parts of the policies' networks buy: paired trainings, part by part."""
