"""Remote workers: agents outside the fleet's processes that do tasks over one stream each."""
