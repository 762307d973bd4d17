"""`petapter serve`: HTTP before a batcher. The core knows nothing of it, and no other part of the client imports it."""
