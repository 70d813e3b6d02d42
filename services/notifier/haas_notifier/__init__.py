"""Who hears of what: a project's history as a stream, and envelopes to the owners concerned (plan §4.4)."""
