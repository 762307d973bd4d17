"""The built-in backbone `minilm`: its name and the published encoder it is made from, agreed on by client and core."""

MINILM = "minilm"
"""Name of the built-in backbone, on the command line and in manifests."""

MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
"""Where the encoder is published."""

MINILM_ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of model.safetensors as published."""
