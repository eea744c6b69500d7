"""Who is asked: a provider's address and key, how it is spoken to, and what its responses and failures say."""

from labelmill.providers.deferred import defer

defer()
