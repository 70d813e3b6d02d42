"""The orchestrator: intents, briefs, plan commands, artifacts."""
