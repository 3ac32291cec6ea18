"""Training a model on samples, with the original as its teacher."""
