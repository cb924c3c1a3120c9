"""The stages that an edit goes through until its certificate is small enough."""
