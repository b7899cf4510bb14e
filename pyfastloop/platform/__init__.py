"""Where pyfastloop meets other event loops; see `pyfastloop.platform.asyncio`."""

__all__: list[str] = []
