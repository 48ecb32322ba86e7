"""The service over the cascade's engine: ASGI, needs the extra `serve`."""
