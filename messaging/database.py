"""How the event loop asks the database."""

from functools import partial

from channels.db import database_sync_to_async

# Queries run in the loop's own threads, each with a connection from the pool; the one thread that Django's sync
# views share would serve them one after the other.
in_database = partial(database_sync_to_async, thread_sensitive=False)
