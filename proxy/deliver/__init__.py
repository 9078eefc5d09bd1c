"""Requests on their way: encoded, signed, sent, judged, tried again."""
