"""What a person does with the package: train, look, measure."""
