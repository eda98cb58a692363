"""The advice on a study, live."""
