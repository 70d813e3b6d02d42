"""The DAG engine: plans as data, shards, leaders, specialists."""
