"""Opening a model, running it on pictures, and what this CPU does with INT8."""
