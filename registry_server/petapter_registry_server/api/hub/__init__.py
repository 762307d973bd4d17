"""The Hugging Face Hub's HTTP protocol, as far as its clients need it for models."""
