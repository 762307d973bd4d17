"""A registry for petapter modules that speaks the Hugging Face Hub's HTTP protocol."""
