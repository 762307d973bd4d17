"""The pages of the registry: what a browser shows, made on the server from what the services say."""
