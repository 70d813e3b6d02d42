"""A remote worker with one skill: it counts the words of a text. See docs/howto/remote-worker.md."""

from haas_client.worker import Output, Task, TaskFailure, Worker, skill

SCHEMA = {
    "type": "object",
    "properties": {"words": {"type": "integer", "minimum": 0}, "longest": {"type": "string"}},
    "required": ["words", "longest"],
}


@skill("words.count", reads={"text": "value.text"}, writes={"count": "doc.word_count"}, output_schema=SCHEMA)
def count(task: Task) -> Output:
    """Counts the words of a text."""
    words = str(task.read("text").data).split()
    if not words:
        raise TaskFailure("TEXT_EMPTY", "There is nothing to count.")
    longest = max(words, key=len)
    return Output(
        "Word count",
        f"# Word count\n\n{len(words)} words, the longest is “{longest}”.",
        {
            "words": len(words),
            "longest": longest,
        },
    )


if __name__ == "__main__":
    Worker.from_env(agent_id="agent.words", skills=[count], concurrency=4).run()
