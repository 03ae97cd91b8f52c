"""Where asyncio begins: offloading to threads, supervision, pacing."""
