"""nasda: neural architecture search for domain adaptation, as a course one can run."""

__version__ = "0.1.0"
