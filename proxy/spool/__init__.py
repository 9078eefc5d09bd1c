"""The durable queue between receiving and delivering; `base` draws its states."""
