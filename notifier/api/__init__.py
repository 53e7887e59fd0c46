"""The REST API, a process of its own (`notifier api`, extra `[api]`): docs/api.md on the store's functions.

Every rule about what may be written is in `domain` and `store`, where the commands use it, too. Here are: who is
asking, what they may see, and how requests and answers look.
"""
