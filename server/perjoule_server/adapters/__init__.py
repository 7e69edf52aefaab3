"""The shapes of other servers' APIs, put onto the tasks of this one: OpenAI's routes, and Hugging Face's streams.

An adapter reads a body into the requests of a task (``Asked``), and shapes their replies; how they are computed,
counted and refused is the same for every route. What a client asks for is honoured or refused by name: nothing that
would change the work is ignored.
"""
